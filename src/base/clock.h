// Time. Everything inside the program uses the monotonic clock in microseconds; wall time is for logs and API fields.
#ifndef NB_CLOCK_H
#define NB_CLOCK_H

#include <stdint.h>

int64_t nb_clock_us(void);   // monotonic
int64_t nb_clock_unix(void); // seconds since 1970

#endif
