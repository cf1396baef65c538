// An ordinary C program: reads a file of its directory, writes another, says what it did.
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: report IN OUT\n");
    return 2;
  }
  FILE *in = fopen(argv[1], "r");
  if (in == NULL) {
    perror(argv[1]);
    return 3;
  }
  FILE *out = fopen(argv[2], "w");
  if (out == NULL) {
    perror(argv[2]);
    return 4;
  }
  long bytes = 0;
  for (int c = fgetc(in); c != EOF; c = fgetc(in)) {
    fputc(c, out);
    bytes++;
  }
  fclose(out);
  printf("%s copied %ld bytes\n", getenv("WHO"), bytes);
  return 0;
}
