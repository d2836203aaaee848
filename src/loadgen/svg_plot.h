// A small plot as inline SVG: a frame with a grid and ticks, and marks in data coordinates that are clipped to it.
// Colours come from the page's style sheet by class.
#ifndef NB_SVG_PLOT_H
#define NB_SVG_PLOT_H

#include "base/str.h"

typedef struct nb_svg_plot {
    nb_buf *out;
    double width, height; // of the picture, in its own units
    double x_max, y_max;  // data starts at 0
    bool y_down;          // rows from the top, without a scale
    const char *title, *x_label, *y_label;
} nb_svg_plot;

void nb_svg_plot_open(const nb_svg_plot *plot);
void nb_svg_plot_close(const nb_svg_plot *plot);

// Between these, a path of any number of points; `area` closes it down to the axis.
void nb_svg_plot_path_open(const nb_svg_plot *plot, const char *css_class);
void nb_svg_plot_point(const nb_svg_plot *plot, double x, double y);
void nb_svg_plot_path_close(const nb_svg_plot *plot);

void nb_svg_plot_rect(const nb_svg_plot *plot, double x0, double x1, double y0, double y1, const char *css_class);
void nb_svg_plot_mark(const nb_svg_plot *plot, double x, const char *label); // a vertical line with a word at its top

// Text with what HTML reserves replaced.
void nb_svg_text(nb_buf *out, nb_str text);

#endif
