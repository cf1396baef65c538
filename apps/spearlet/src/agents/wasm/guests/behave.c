// Behaves as the contract of agents asks for: behave NAME [ARGUMENTS].
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wasi/api.h>

__attribute__((import_module("wasi_snapshot_preview1"), import_name("proc_raise"))) int32_t
proc_raise(int32_t signal);

extern char **environ;
static char buffer[65536];

static int copy(void) {
  for (;;) {
    size_t size = fread(buffer, 1, sizeof buffer, stdin);
    if (size == 0) return 0;
    fwrite(buffer, 1, size, stdout);
  }
}

static int flood(long long bytes) {
  while (bytes > 0) {
    long long piece = bytes < (long long)sizeof buffer ? bytes : (long long)sizeof buffer;
    fwrite(buffer, 1, piece, stdout);
    bytes -= piece;
  }
  return 0;
}

static int double_file(void) {
  FILE *out = fopen("out.txt", "w");
  for (int round = 0; round < 2; round++) {
    FILE *in = fopen("in.txt", "r");
    if (in == NULL || out == NULL) return 1;
    size_t size = fread(buffer, 1, sizeof buffer, in);
    fwrite(buffer, 1, size, out);
    fclose(in);
  }
  return fclose(out);
}

static int allocate(long long bytes) {
  for (long long held = 0; held < bytes; held += sizeof buffer) {
    // Volatile, or the compiler sees that nobody needs it.
    volatile char *piece = malloc(sizeof buffer);
    if (piece == NULL) abort();
    *piece = 1;
  }
  return 0;
}

// Prints which of these it can read, each as it is and through a link.
static int escape(int count, char **paths) {
  for (int i = 0; i < count; i++) {
    if (fopen(paths[i], "r") != NULL) printf("reached %s\n", paths[i]);
    remove("link");
    if (symlink(paths[i], "link") == 0 && fopen("link", "r") != NULL) {
      printf("reached %s through a link\n", paths[i]);
    }
  }
  return 0;
}

int main(int argc, char **argv) {
  const char *does = argc > 1 ? argv[1] : "";
  long long number = argc > 2 ? atoll(argv[2]) : 0;
  if (strcmp(does, "exit") == 0) return number;
  if (strcmp(does, "copy") == 0) return copy();
  if (strcmp(does, "flood") == 0) return flood(number);
  if (strcmp(does, "double-file") == 0) return double_file();
  if (strcmp(does, "allocate") == 0) return allocate(number);
  if (strcmp(does, "nap") == 0) return usleep(number * 1000);
  if (strcmp(does, "escape") == 0) return escape(argc - 2, argv + 2);
  if (strcmp(does, "die") == 0) return proc_raise(number);
  if (strcmp(does, "print") == 0) {
    fputs(argv[2], stdout);
    fputs(argv[3], stderr);
    return 0;
  }
  if (strcmp(does, "environment") == 0) {
    __wasi_size_t count = 0, bytes = 0;
    if (__wasi_environ_sizes_get(&count, &bytes) != 0 || bytes > sizeof buffer) return 1;
    uint8_t **list = malloc(count * sizeof *list);
    if (__wasi_environ_get(list, (uint8_t *)buffer) != 0) return 1;
    for (__wasi_size_t i = 0; i < count; i++) puts((char *)list[i]);
    return 0;
  }
  if (strcmp(does, "all-bytes") == 0) {
    for (int byte = 0; byte < 256; byte++) putchar(byte);
    return 0;
  }
  if (strcmp(does, "hang") == 0) {
    puts("ready");
    fflush(stdout);
    for (volatile int forever = 1; forever;) {
    }
  }
  return 2;
}
