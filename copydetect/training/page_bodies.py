"""The HTML of drawn pages: each function fills a page of one look with texts."""

from __future__ import annotations

import numpy as np

from copydetect.training.page_contents import Fields, cells, name, words
from copydetect.training.page_looks import Look, columns_of


def _head(look: Look, text: str, below: str = "") -> str:
    return (
        f'<div style="background:{look.accent};color:#fff;padding:{0.7 * look.size:.0f}px 14px;'
        f'font-size:{1.3 * look.size:.0f}px">{text}</div>{below}'
    )


def _title_of(look: Look) -> str:
    return words(np.random.default_rng(look.seed), 1, 3)


def table(look: Look, fields: Fields) -> str:
    """Rows and columns under a title."""
    columns = len(columns_of(look))
    line = f"1px solid {look.soft}" if look.seed % 3 else "0"
    rows = [fields[i : i + columns] for i in range(0, len(fields), columns)]
    pad = 3 + look.seed % 7
    body = "".join(
        "<tr>"
        + "".join(f'<td style="border:{line};padding:{pad}px 8px">{c}</td>' for c in row)
        + "</tr>"
        for row in rows
    )
    head = _head(look, _title_of(look)) if look.seed % 2 else f"<h3>{_title_of(look)}</h3>"
    return f'{head}<table style="border-collapse:collapse;width:96%;margin:8px 2%">{body}</table>'


def chat(look: Look, fields: Fields) -> str:
    """Bubbles of two sides under a name."""
    sides = np.random.default_rng(look.seed).random(len(fields)) < 0.5
    bubbles = "".join(
        f'<div style="text-align:{"right" if right else "left"};margin:7px 12px"><span style="'
        f"display:inline-block;max-width:72%;padding:7px 12px;border-radius:12px;text-align:left;"
        f'background:{look.soft if right else look.accent};color:{look.ink if right else "#fff"}">'
        f"{text}</span></div>"
        for right, text in zip(sides, fields, strict=True)
    )
    return _head(look, name(np.random.default_rng(look.seed)), bubbles)


def bank(look: Look, fields: Fields) -> str:
    """A balance, and entries with their amounts."""
    rows = "".join(
        f'<div style="display:flex;justify-content:space-between;padding:9px 14px;border-bottom:'
        f'1px solid {look.soft}"><span>{fields[i]}<br><small>{fields[i + 1]}</small></span>'
        f"<b>{fields[i + 2]}</b></div>"
        for i in range(1, len(fields) - 2, 3)
    )
    big = f'<div style="font-size:{2.2 * look.size:.0f}px;padding:16px">{fields[0]} €</div>'
    return _head(look, _title_of(look), big + rows)


def slide(look: Look, fields: Fields) -> str:
    """A title and a few points."""
    points = "".join(f'<li style="margin:{look.size:.0f}px 0">{text}</li>' for text in fields[1:])
    return (
        f'<div style="padding:5%;font-size:{1.5 * look.size:.0f}px;height:100%;border-left:14px '
        f'solid {look.accent}"><h2 style="color:{look.accent}">{fields[0]}</h2><ul>{points}</ul>'
        "</div>"
    )


def invoice(look: Look, fields: Fields) -> str:
    """A letterhead, rows of goods and a total."""
    top = (
        f"<h2>{_title_of(look)} Ltd.</h2><div>{fields[0]}<br>{fields[1]}</div>"
        f'<div style="text-align:right">No. {fields[2]}<br>{fields[3]}</div><hr>'
    )
    rows = "".join(
        f"<tr><td>{fields[i]}</td><td>{fields[i + 1]}</td><td align=right>{fields[i + 2]}</td></tr>"
        for i in range(5, len(fields) - 2, 3)
    )
    total = f'<hr><div style="text-align:right"><b>Total {fields[4]}</b></div>'
    return f'<div style="padding:6%">{top}<table width=100%>{rows}</table>{total}</div>'


def receipt(look: Look, fields: Fields) -> str:
    """A shop's narrow receipt with its sum."""
    rows = "".join(
        f'<div style="display:flex;justify-content:space-between"><span>{fields[i]}</span>'
        f"<span>{fields[i + 1]}</span></div>"
        for i in range(3, len(fields) - 1, 2)
    )
    head = f"<center><b>{_title_of(look).upper()}</b><br>{fields[0]}<br>Tel 0{look.seed % 99999}"
    foot = f"<center>THANK YOU<br>{fields[2]}</center>"
    return (
        f'<div style="padding:12px;font-family:Liberation Mono">{head}</center>------<br>{rows}'
        f"------<br><b>SUM {fields[1]}</b><br>{foot}</div>"
    )


def form(look: Look, fields: Fields) -> str:
    """Labels with boxes that are filled in."""
    labels = cells(np.random.default_rng(look.seed), len(fields), ("word",))
    boxes = "".join(
        f'<div style="display:inline-block;width:{46 if look.seed % 2 else 94}%;margin:1.5%">'
        f'<small>{label}</small><div style="border:1px solid {look.ink};padding:4px;min-height:'
        f'{1.5 * look.size:.0f}px;font-family:Liberation Serif"><i>{text}</i></div></div>'
        for label, text in zip(labels, fields, strict=True)
    )
    return f'<h3 style="margin:14px">{_title_of(look)}</h3>{boxes}'


def chart(look: Look, fields: Fields) -> str:
    """Bars with labels, across or upright."""
    values = np.array([float(text) for text in fields[1:]])
    labels = cells(np.random.default_rng(look.seed), len(values), ("word",))
    across = look.seed % 2
    bars = "".join(
        f'<div style="display:{"block" if across else "inline-block"};vertical-align:bottom;'
        + (
            f'margin:6px 12px">{label}<div style="width:{v:.1f}%;height:{look.size:.0f}px;'
            if across
            else f'margin:0 1%;width:{80 / len(values):.1f}%"><small>{v:.0f}</small><div style="'
            f"height:{0.7 * v * look.height / 100:.0f}px;"
        )
        + f'background:{look.accent}"></div></div>'
        for label, v in zip(labels, values, strict=True)
    )
    return f'<h3 style="margin:12px">{fields[0]}</h3>{bars}'


def calendar(look: Look, fields: Fields) -> str:
    """A month of days with short notes."""
    start = look.seed % 7
    cells = "".join(
        f'<div style="width:13.2%;height:{look.height / 7.5:.0f}px;display:inline-block;vertical-'
        f"align:top;border:1px solid {look.soft};overflow:hidden;box-sizing:border-box;font-size:"
        f'{0.8 * look.size:.0f}px"><b>{max(day - start, 0) or ""}</b><br>{fields[day]}</div>'
        for day in range(1, 36)
    )
    return _head(look, fields[0], f"<div>{cells}</div>")


def article(look: Look, fields: Fields) -> str:
    """A title over text in columns."""
    columns = 1 + look.seed % 3
    text = "".join(f"<p>{one}</p>" for one in fields[1:])
    return (
        f'<div style="padding:4%"><h2>{fields[0]}</h2><div style="column-count:{columns}">{text}'
        "</div></div>"
    )


def mail(look: Look, fields: Fields) -> str:
    """A list of messages beside folders."""
    side = "".join(f"<div>{w}</div>" for w in cells(np.random.default_rng(look.seed), 8, ("word",)))
    rows = "".join(
        f'<div style="padding:6px;border-bottom:1px solid {look.soft};white-space:nowrap">'
        f"<b>{fields[i]}</b> {fields[i + 1]} <span style='float:right'>{fields[i + 2]}</span></div>"
        for i in range(0, len(fields) - 2, 3)
    )
    return _head(
        look,
        _title_of(look),
        f'<div style="display:flex"><div style="width:22%;padding:8px;line-height:2;background:'
        f'{look.soft}">{side}</div><div style="flex:1">{rows}</div></div>',
    )


def quote(look: Look, fields: Fields) -> str:
    """A sentence and who said it, on a gradient."""
    return (
        f'<div style="height:100%;display:flex;flex-direction:column;justify-content:center;'
        f"text-align:center;padding:0 12%;box-sizing:border-box;background:linear-gradient("
        f'{look.seed % 360}deg,{look.accent},{look.soft})"><div style="font-size:'
        f'{2 * look.size:.0f}px">“{fields[0]}”</div><p>— {fields[1]}</p></div>'
    )


def identity(look: Look, fields: Fields) -> str:
    """A card with a drawn face and personal data."""
    face = np.random.default_rng(sum(map(ord, fields[0])))
    skin, hair = (
        f"hsl({face.integers(15, 40)} 40% {face.integers(*r)}%)" for r in ((45, 85), (8, 60))
    )
    rx, top = face.integers(24, 36), face.integers(20, 46)
    svg = (
        f'<svg width=120 height=150 style="background:#cdd"><ellipse cx=60 cy=70 rx={rx + 8} '
        f'ry={top + 12} fill="{hair}"/><ellipse cx=60 cy=80 rx={rx} ry=42 fill="{skin}"/><circle '
        f'cx=48 cy=74 r=3 /><circle cx=72 cy=74 r=3 /><path d="M48 {98 + top % 9} q12 {top % 13} '
        f'24 0" stroke="#622" fill=none /><rect x=25 y=125 width=70 height=40 '
        f'fill="{look.accent}"/>'
        "</svg>"
    )
    lines = "".join(f"<div><small>{k}</small> {v}</div>" for k, v in
                    zip(("Name", "Born", "No.", "Until"), fields, strict=True))  # fmt: skip
    return _head(
        look,
        _title_of(look).upper(),
        f'<div style="display:flex;padding:14px;gap:16px;line-height:1.9">{svg}<div>{lines}</div>'
        "</div>",
    )


def code(look: Look, fields: Fields) -> str:
    """Numbered lines of a program."""
    rows = "".join(
        f'<div><span style="color:#888;display:inline-block;width:3em">{i + 1}</span>'
        f'<span style="color:{look.accent}">{["def", "if", "for", "return"][i % 4]}</span> {text}'
        "</div>"
        for i, text in enumerate(fields)
    )
    return f'<div style="font-family:Liberation Mono;padding:10px;line-height:1.5">{rows}</div>'


def grid(look: Look, fields: Fields) -> str:
    """Squares in black and white: a code, a crossword, a board."""
    side = int(np.sqrt(len(fields)))
    px = 8 + look.seed % 14
    squares = "".join(
        f'<rect x={i % side * px} y={i // side * px} width={px} height={px} fill="{look.ink}"/>'
        for i, text in enumerate(fields)
        if text == "1"
    )
    px *= side
    return f'<center><svg style="margin:20px" width={px} height={px}>{squares}</svg></center>'


def icon(look: Look, fields: Fields) -> str:
    """A few shapes on a rounded square."""
    shape = np.random.default_rng(sum(ord(c) * (i + 1) for i, c in enumerate(fields[0])))
    points = " ".join(
        f"{x:.0f},{y:.0f}" for x, y in shape.uniform(40, 160, (shape.integers(3, 8), 2))
    )
    circles = "".join(
        f'<circle cx={x:.0f} cy={y:.0f} r={r:.0f} fill="{look.soft}"/>'
        for x, y, r in shape.uniform((50, 50, 6), (150, 150, 30), (shape.integers(0, 4), 3))
    )
    return (
        f'<svg width=200 height=200><rect x=10 y=10 width=180 height=180 rx={look.seed % 80} fill="'
        f'{look.accent}"/><polygon points="{points}" fill="#fff"/>{circles}</svg>'
    )


def soft(look: Look, fields: Fields) -> str:
    """Blurred colours, or one gradient."""
    spots = [text.split() for text in fields]
    if look.seed % 3:
        lights = "".join(
            f'<div style="position:absolute;left:{x}%;top:{y}%;width:60%;height:60%;border-radius:'
            f'50%;background:{colour}"></div>'
            for x, y, colour in spots
        )
        return f'<div style="filter:blur(60px);width:100%;height:100%">{lights}</div>'
    (x, y, first), (_, _, last) = spots[:2]
    shape = f"radial-gradient(at {x}% {y}%" if look.seed % 2 else f"linear-gradient({3 * int(x)}deg"
    return f'<div style="width:100%;height:100%;background:{shape},{first},{last})"></div>'


def word(look: Look, fields: Fields) -> str:
    """One word, or one sign, on a plain ground."""
    sign = chr(0x2600 + sum(map(ord, fields[0])) % 120) if look.seed % 2 else fields[0]
    return (
        f'<div style="height:100%;display:flex;align-items:center;justify-content:center;'
        f'font-size:{3 * look.size:.0f}px">{sign}</div>'
    )


def halves(look: Look, fields: Fields) -> str:
    """A few stripes of plain colours."""
    colours = [text.split()[2] for text in fields[: 2 + look.seed % 3]]
    return "".join(
        f'<div style="height:{100 / len(colours)}%;background:{c}"></div>' for c in colours
    )
