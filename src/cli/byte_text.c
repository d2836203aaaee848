// Sizes for people. See byte_text.h.
#include "cli/byte_text.h"

#include <math.h>
#include <stdio.h>

nb_byte_text nb_byte_text_of(double n_byte)
{
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB"};
    nb_byte_text text;
    int i = 0;
    for (; fabs(n_byte) >= 10000 && i < 1; i++) n_byte /= 1000;
    for (; i > 0 && fabs(n_byte) >= 1000 && i < 4; i++) n_byte /= 1000;
    snprintf(text.c_str, sizeof text.c_str, i ? "%.2f %s" : "%.0f %s", n_byte, unit[i]);
    return text;
}
