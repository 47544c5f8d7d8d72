/* Preloaded before libfaketime, which knows how to wait until a faked time for pthread_cond_timedwait, and not for this
 * one of C11. librdkafka's threads wait by it: with a clock ten minutes ahead each of their waits would take ten minutes.
 * In glibc the two are the same thing. */
#include <errno.h>
#include <pthread.h>
#include <threads.h>

int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *until)
{
    int failed = pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, until);
    return failed == 0 ? thrd_success : failed == ETIMEDOUT ? thrd_timedout : thrd_error;
}
