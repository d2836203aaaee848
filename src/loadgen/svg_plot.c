// See svg_plot.h. Coordinates have one decimal: finer than a pixel, and short.
#include "loadgen/svg_plot.h"

#include <math.h>

enum { LEFT = 52, RIGHT = 14, TOP = 30, BOTTOM = 38, TICKS = 5 };

void nb_svg_text(nb_buf *out, nb_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        switch (text.ptr[i]) {
        case '<': nb_buf_add_c(out, "&lt;"); break;
        case '>': nb_buf_add_c(out, "&gt;"); break;
        case '&': nb_buf_add_c(out, "&amp;"); break;
        case '"': nb_buf_add_c(out, "&quot;"); break;
        case '\'': nb_buf_add_c(out, "&#39;"); break;
        default: nb_buf_add_char(out, text.ptr[i]);
        }
    }
}

static double x_of(const nb_svg_plot *p, double x)
{
    double share = p->x_max > 0 ? x / p->x_max : 0;
    return LEFT + (p->width - LEFT - RIGHT) * fmin(fmax(share, 0), 1);
}

static double y_of(const nb_svg_plot *p, double y)
{
    double share = p->y_max > 0 ? fmin(fmax(y / p->y_max, 0), 1) : 0;
    return TOP + (p->height - TOP - BOTTOM) * (p->y_down ? share : 1 - share);
}

// 1, 2 or 5 times a power of ten, so that about TICKS of them make `range`.
static double tick_step(double range)
{
    if (range <= 0) return 1;
    double raw = range / TICKS, power = pow(10, floor(log10(raw))), digit = raw / power;
    return power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
}

static void x_ticks(const nb_svg_plot *p)
{
    double step = tick_step(p->x_max);
    for (double x = 0; x <= p->x_max * 1.0001; x += step) {
        nb_buf_printf(p->out, "<path class=grid d='M%.1f %dV%.1f'/><text class=tick x=%.1f y=%.1f>%.6g</text>",
                      x_of(p, x), TOP, p->height - BOTTOM, x_of(p, x), p->height - BOTTOM + 15, x);
    }
}

static void y_ticks(const nb_svg_plot *p)
{
    double step = tick_step(p->y_max);
    for (double y = 0; !p->y_down && y <= p->y_max * 1.0001; y += step) {
        nb_buf_printf(p->out, "<path class=grid d='M%d %.1fH%.1f'/><text class='tick left' x=%d y=%.1f>%.6g</text>",
                      LEFT, y_of(p, y), p->width - RIGHT, LEFT - 6, y_of(p, y) + 4, y);
    }
}

void nb_svg_plot_open(const nb_svg_plot *p)
{
    nb_buf_printf(p->out, "<svg role=img viewBox='0 0 %g %g' aria-label='%s'><text class=title x=%d y=16>%s</text>",
                  p->width, p->height, p->title, LEFT, p->title);
    x_ticks(p);
    y_ticks(p);
    nb_buf_printf(p->out, "<text class=label x=%.1f y=%.1f>%s</text>", p->width - RIGHT, p->height - 6, p->x_label);
    nb_buf_printf(p->out, "<text class=label x=%.1f y=16>%s</text>", p->width - RIGHT, p->y_label);
}

void nb_svg_plot_close(const nb_svg_plot *p)
{
    nb_buf_printf(p->out, "<path class=axis d='M%d %dV%.1fH%.1f'/></svg>\n", LEFT, TOP, p->height - BOTTOM,
                  p->width - RIGHT);
}

void nb_svg_plot_path_open(const nb_svg_plot *p, const char *css_class)
{
    nb_buf_printf(p->out, "<polyline class='%s' points='", css_class);
}

void nb_svg_plot_point(const nb_svg_plot *p, double x, double y)
{
    nb_buf_printf(p->out, "%.1f,%.1f ", x_of(p, x), y_of(p, y));
}

void nb_svg_plot_path_close(const nb_svg_plot *p)
{
    nb_buf_add_c(p->out, "'/>");
}

void nb_svg_plot_rect(const nb_svg_plot *p, double x0, double x1, double y0, double y1, const char *css_class)
{
    double left = x_of(p, x0), right = x_of(p, x1), top = fmin(y_of(p, y0), y_of(p, y1));
    nb_buf_printf(p->out, "<rect class='%s' x=%.1f y=%.1f width=%.1f height=%.1f></rect>", css_class, left, top,
                  right - left, fabs(y_of(p, y1) - y_of(p, y0)));
}

void nb_svg_plot_mark(const nb_svg_plot *p, double x, const char *label)
{
    bool right_half = x_of(p, x) > p->width * 0.8;
    nb_buf_printf(p->out, "<path class=mark d='M%.1f %dV%.1f'/><text class='tick%s' x=%.1f y=%d>%s</text>", x_of(p, x),
                  TOP, p->height - BOTTOM, right_half ? " left" : " right", x_of(p, x) + (right_half ? -3 : 3),
                  TOP + 10, label);
}
