// Byte counts for people.
#ifndef NB_BYTE_TEXT_H
#define NB_BYTE_TEXT_H

#include <stdint.h>

typedef struct nb_byte_text {
    char c_str[16];
} nb_byte_text;

// "18.12 GB": decimal units, as the sizes of files and bandwidths are given; below 10 kB plain bytes.
nb_byte_text nb_byte_text_of(double n_byte);

#endif
