"""Small bar charts as SVG, without any library."""

import math

COLOURS = {"floor": "#9aa0a6", "braid": "#1a73e8", "braid-synced": "#174ea6", "kafka": "#e8710a"}
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 780, 300, 72, 50, 40


def text(x, y, words, anchor="middle", size=11):
    style = f"text-anchor='{anchor}' font-family='sans-serif' font-size='{size}' fill='#444'"
    return f"<text x='{x:.0f}' y='{y:.0f}' {style}>{words}</text>"


def number(value):
    """Three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def scale(groups, log):
    """How high a value stands, from 0 to 1, and the values of the grid's lines."""
    values = [value for _, bars_ in groups for bar in bars_.values() for value in bar if value > 0]
    if not log:
        top = max(values, default=1) * 1.08
        step = 10 ** math.floor(math.log10(top))
        step = next(step * part for part in (0.1, 0.2, 0.5, 1, 2) if top / (step * part) <= 6)
        return (lambda value: value / top), [step * at for at in range(1, int(top / step) + 1)]
    low = 10 ** math.floor(math.log10(min(values, default=1)))
    high = 10 ** math.ceil(math.log10(max(values, default=10) * 1.01))
    span = math.log10(high / low)
    lines = [low * 10**at for at in range(round(span) + 1)]
    return (lambda value: math.log10(max(value, low) / low) / span), lines


def bars(title, unit, groups, brokers, log=False):
    """Groups of bars: [(label, {broker: (median, lowest, highest)})]; a thin line is the spread."""
    place, lines = scale(groups, log)
    floor = HEIGHT - BOTTOM

    def height(value):
        return floor - place(value) * (floor - TOP)

    out = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}'>",
        f"<rect width='{WIDTH}' height='{HEIGHT}' fill='white'/>",
        text(LEFT, 18, f"{title} ({unit})", "start", 13),
    ]
    for value in lines:
        y = height(value)
        out += [
            f"<path d='M{LEFT} {y:.1f}H{WIDTH}' stroke='#e0e0e0'/>",
            text(LEFT - 6, y + 4, number(value), "end"),
        ]
    for at, broker in enumerate(brokers):
        out += [
            f"<rect x='{LEFT + at * 110}' y='27' width='10' height='10' fill='{COLOURS[broker]}'/>",
            text(LEFT + 14 + at * 110, 36, broker, "start"),
        ]
    room = (WIDTH - LEFT) / len(groups)
    wide = room * 0.8 / len(brokers)
    for at, (label, values) in enumerate(groups):
        start = LEFT + room * (at + 0.1)
        out.append(text(start + room * 0.4, floor + 16, label))
        for turn, broker in enumerate(brokers):
            if broker not in values:
                continue
            median, low, high = values[broker]
            x, y = start + turn * wide, height(median)
            out += [
                f"<rect x='{x:.1f}' y='{y:.1f}' width='{wide * 0.9:.1f}' height='{max(floor - y, 0):.1f}' "
                f"fill='{COLOURS[broker]}'/>",
                f"<path d='M{x + wide * 0.45:.1f} {height(low):.1f}V{height(high):.1f}' stroke='#000'/>",
                text(x + wide * 0.45, height(high) - 4, number(median), size=9),
            ]
    return "\n".join([*out, "</svg>\n"])
