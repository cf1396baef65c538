// Copies a file in capitals. A task in C, as a WebAssembly module: it sees its own
// directory and nothing else of the machine.
//
//   clang --target=wasm32-wasi --sysroot=/usr -O2 -o shout.wasm examples/tasks/shout.c
//   spear bucket create shouting
//   echo hello | spear object put - shouting/in.txt
//   spear run --wasm shout.wasm --input shouting/in.txt:in.txt \
//     --output out.txt:shouting/out.txt -- in.txt out.txt
//   spear object get shouting/out.txt -
#include <ctype.h>
#include <stdio.h>

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: shout IN OUT\n");
    return 2;
  }
  FILE *in = fopen(argv[1], "r");
  if (in == NULL) {
    perror(argv[1]);
    return 1;
  }
  FILE *out = fopen(argv[2], "w");
  if (out == NULL) {
    perror(argv[2]);
    return 1;
  }
  for (int byte = getc(in); byte != EOF; byte = getc(in)) putc(toupper(byte), out);
  return fclose(out) == 0 ? 0 : 1;
}
