/* Preloaded: the wall clock of a process is SKEW_MS ahead of the machine's, and nothing else is. libfaketime would move
 * the deadlines of condition variables too, on which librdkafka's threads wait. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    const char *skew = getenv("SKEW_MS");
    if (failed == 0 && clock == CLOCK_REALTIME && skew != NULL) {
        long long nanoseconds = now->tv_nsec + atoll(skew) % 1000 * 1000000LL;
        now->tv_sec += atoll(skew) / 1000 + (nanoseconds < 0 ? -1 : nanoseconds / 1000000000LL);
        now->tv_nsec = (nanoseconds + 1000000000LL) % 1000000000LL;
    }
    return failed;
}
