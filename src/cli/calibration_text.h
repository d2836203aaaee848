// The text that `nibble quantize` calibrates input scales with when no other is given: prose, code, arithmetic,
// dialogue and markup, written for this purpose. A user's own text is better.
#ifndef NB_CALIBRATION_TEXT_H
#define NB_CALIBRATION_TEXT_H

extern const char nb_calibration_text[];

#endif
