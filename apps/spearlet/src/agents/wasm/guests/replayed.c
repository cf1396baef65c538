/* Prints what no two runs have in common: the time, random bytes, and what its node
 * answers; copies its input behind them into an output. */
#include <time.h>
#include <unistd.h>

#include "spear.h"

int main(int argc, char **argv) {
  unsigned char dice[16];
  char line[256];
  struct timespec now;
  long long sum = 0;
  clock_gettime(CLOCK_REALTIME, &now);
  getentropy(dice, sizeof dice);
  if (spear_kv_increment("runs", 1, &sum) != 0) return 1;
  printf("%lld.%09ld %02x%02x%02x%02x %lld %s\n", (long long)now.tv_sec, now.tv_nsec, dice[0],
         dice[1], dice[2], dice[3], sum, argc > 1 ? argv[1] : "");
  FILE *in = fopen("in.txt", "r"), *out = fopen("out.txt", "w");
  if (in == NULL || out == NULL) return 1;
  while (fgets(line, sizeof line, in) != NULL) fputs(line, out);
  fprintf(out, "%ld\n", now.tv_nsec);
  return 0;
}
