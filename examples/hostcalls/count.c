/* Counts the words of an object and stores the sum: a WASI guest that reads and writes
 * objects, counts what it has done in a key of its job, and logs it.
 *     count corpus/part-1.txt results/part-1 */
#include <ctype.h>

#include "spear.h"

static void check(long long result) {
  if (result >= 0) return;
  fprintf(stderr, "%s\n", spear_error());
  exit(1);
}

int main(int argc, char **argv) {
  static char buffer[1 << 16];
  long words = 0, got;
  int inside = 0;
  if (argc != 3) return 2;
  int stream = spear_open(argv[1], 0);
  check(stream);
  while ((got = spear_read(stream, buffer, sizeof buffer)) > 0) {
    for (long at = 0; at < got; at++) {
      int letter = !isspace((unsigned char)buffer[at]);
      words += letter && !inside;
      inside = letter;
    }
  }
  check(got);
  int length = snprintf(buffer, sizeof buffer, "%ld\n", words);
  check(spear_object_put(argv[2], buffer, (size_t)length));
  long long all;
  check(spear_kv_increment("words", words, &all));
  snprintf(buffer, sizeof buffer, "%s has %ld words, all have %lld", argv[1], words, all);
  check(spear_log("info", buffer));
  puts(buffer);
  return 0;
}
