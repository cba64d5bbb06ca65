"""Designs of pages and windows as HTML: one look, filled with one content or another.

A design draws its look once from a generator; what is filled in is a list of texts and numbers, so
that one of them can be changed alone (`page_contents`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from copydetect.training.page_contents import Fields, amount, date, name, words
from copydetect.types import Relation

_FONTS = ("DejaVu Sans", "DejaVu Serif", "Liberation Sans", "Liberation Serif", "Liberation Mono",
          "Noto Sans")  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How the pages of one design look: its font, size, colours and measures."""

    font: str
    size: float
    ink: str
    ground: str
    accent: str
    soft: str
    width: int
    height: int
    rows: int
    seed: int

    @staticmethod
    def drawn(rng: np.random.Generator) -> Look:
        """Light or dark, any of a few fonts."""
        dark = rng.random() < 0.2
        hue, size = int(rng.integers(360)), float(rng.uniform(11, 20))
        tint = int(rng.integers(0, 12))
        return Look(
            font=str(rng.choice(_FONTS)),
            size=size,
            ink="#e8e8e8" if dark else str(rng.choice(["#111", "#222", "#334", "#000", "#444"])),
            ground=f"hsl({hue} {tint}% 12%)" if dark else f"hsl({hue} {tint}% {99 - tint}%)",
            accent=f"hsl({hue} {int(rng.integers(20, 90))}% {int(rng.integers(30, 60))}%)",
            soft=f"hsl({hue} 15% {25 if dark else 88}%)",
            width=int(rng.integers(380, 980)),
            height=int(rng.integers(420, 1000)),
            rows=int(rng.integers(4, 16)),
            seed=int(rng.integers(2**31)),
        )


@dataclass(frozen=True)
class Design:
    """fill: draws the fields of a page of this look; body: the HTML inside the page; paper: whether
    it is printed and scanned; size: in px where the look has none; refilled: what two pages of one
    look with other fields are to each other; plain: whether edits leave too little to prove."""

    fill: Callable[[np.random.Generator, Look], Fields]
    body: Callable[[Look, Fields], str]
    paper: bool = False
    size: tuple[int, int] | None = None
    refilled: Relation = "same_layout"
    plain: bool = False

    def page(self, look: Look, fields: Fields) -> tuple[str, int, int]:
        """The page as an HTML block, its width and its height in px."""
        width, height = self.size or (look.width, look.height)
        style = (
            f"width:{width}px;height:{height}px;overflow:hidden;position:relative;"
            f"font:{look.size:.1f}px '{look.font}';color:{look.ink};background:{look.ground}"
        )
        return f'<div style="{style}">{self.body(look, fields)}</div>', width, height


def _cells(rng: np.random.Generator, rows: int, columns: tuple[str, ...]) -> Fields:
    kinds: dict[str, Callable[[], str]] = {
        "word": lambda: words(rng, 1, 2),
        "words": lambda: words(rng, 2, 6),
        "amount": lambda: amount(rng),
        "name": lambda: name(rng),
        "date": lambda: date(rng),
        "number": lambda: str(int(rng.integers(1, 10 ** int(rng.integers(1, 5))))),
    }
    return [kinds[kind]() for _ in range(rows) for kind in columns]


_COLUMNS = (
    ("name", "date", "amount"),
    ("words", "number", "amount"),
    ("word", "number", "number", "number", "number"),
    ("date", "words", "name", "amount"),
    ("name", "word", "number", "date", "amount"),
)


def _columns_of(look: Look) -> tuple[str, ...]:
    return _COLUMNS[look.seed % len(_COLUMNS)]


def _head(look: Look, text: str, below: str = "") -> str:
    return (
        f'<div style="background:{look.accent};color:#fff;padding:{0.7 * look.size:.0f}px 14px;'
        f'font-size:{1.3 * look.size:.0f}px">{text}</div>{below}'
    )


def _title_of(look: Look) -> str:
    return words(np.random.default_rng(look.seed), 1, 3)


def _table(look: Look, fields: Fields) -> str:
    columns = len(_columns_of(look))
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


def _chat(look: Look, fields: Fields) -> str:
    sides = np.random.default_rng(look.seed).random(len(fields)) < 0.5
    bubbles = "".join(
        f'<div style="text-align:{"right" if right else "left"};margin:7px 12px"><span style="'
        f"display:inline-block;max-width:72%;padding:7px 12px;border-radius:12px;text-align:left;"
        f'background:{look.soft if right else look.accent};color:{look.ink if right else "#fff"}">'
        f"{text}</span></div>"
        for right, text in zip(sides, fields, strict=True)
    )
    return _head(look, name(np.random.default_rng(look.seed)), bubbles)


def _bank(look: Look, fields: Fields) -> str:
    rows = "".join(
        f'<div style="display:flex;justify-content:space-between;padding:9px 14px;border-bottom:'
        f'1px solid {look.soft}"><span>{fields[i]}<br><small>{fields[i + 1]}</small></span>'
        f"<b>{fields[i + 2]}</b></div>"
        for i in range(1, len(fields) - 2, 3)
    )
    big = f'<div style="font-size:{2.2 * look.size:.0f}px;padding:16px">{fields[0]} €</div>'
    return _head(look, _title_of(look), big + rows)


def _slide(look: Look, fields: Fields) -> str:
    points = "".join(f'<li style="margin:{look.size:.0f}px 0">{text}</li>' for text in fields[1:])
    return (
        f'<div style="padding:5%;font-size:{1.5 * look.size:.0f}px;height:100%;border-left:14px '
        f'solid {look.accent}"><h2 style="color:{look.accent}">{fields[0]}</h2><ul>{points}</ul>'
        "</div>"
    )


def _invoice(look: Look, fields: Fields) -> str:
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


def _receipt(look: Look, fields: Fields) -> str:
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


def _form(look: Look, fields: Fields) -> str:
    labels = _cells(np.random.default_rng(look.seed), len(fields), ("word",))
    boxes = "".join(
        f'<div style="display:inline-block;width:{46 if look.seed % 2 else 94}%;margin:1.5%">'
        f'<small>{label}</small><div style="border:1px solid {look.ink};padding:4px;min-height:'
        f'{1.5 * look.size:.0f}px;font-family:Liberation Serif"><i>{text}</i></div></div>'
        for label, text in zip(labels, fields, strict=True)
    )
    return f'<h3 style="margin:14px">{_title_of(look)}</h3>{boxes}'


def _chart(look: Look, fields: Fields) -> str:
    values = np.array([float(text) for text in fields[1:]])
    labels = _cells(np.random.default_rng(look.seed), len(values), ("word",))
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


def _calendar(look: Look, fields: Fields) -> str:
    start = look.seed % 7
    cells = "".join(
        f'<div style="width:13.2%;height:{look.height / 7.5:.0f}px;display:inline-block;vertical-'
        f"align:top;border:1px solid {look.soft};overflow:hidden;box-sizing:border-box;font-size:"
        f'{0.8 * look.size:.0f}px"><b>{max(day - start, 0) or ""}</b><br>{fields[day]}</div>'
        for day in range(1, 36)
    )
    return _head(look, fields[0], f"<div>{cells}</div>")


def _article(look: Look, fields: Fields) -> str:
    columns = 1 + look.seed % 3
    text = "".join(f"<p>{one}</p>" for one in fields[1:])
    return (
        f'<div style="padding:4%"><h2>{fields[0]}</h2><div style="column-count:{columns}">{text}'
        "</div></div>"
    )


def _mail(look: Look, fields: Fields) -> str:
    side = "".join(
        f"<div>{w}</div>" for w in _cells(np.random.default_rng(look.seed), 8, ("word",))
    )
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


def _quote(look: Look, fields: Fields) -> str:
    return (
        f'<div style="height:100%;display:flex;flex-direction:column;justify-content:center;'
        f"text-align:center;padding:0 12%;box-sizing:border-box;background:linear-gradient("
        f'{look.seed % 360}deg,{look.accent},{look.soft})"><div style="font-size:'
        f'{2 * look.size:.0f}px">“{fields[0]}”</div><p>— {fields[1]}</p></div>'
    )


def _identity(look: Look, fields: Fields) -> str:
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


def _code(look: Look, fields: Fields) -> str:
    rows = "".join(
        f'<div><span style="color:#888;display:inline-block;width:3em">{i + 1}</span>'
        f'<span style="color:{look.accent}">{["def", "if", "for", "return"][i % 4]}</span> {text}'
        "</div>"
        for i, text in enumerate(fields)
    )
    return f'<div style="font-family:Liberation Mono;padding:10px;line-height:1.5">{rows}</div>'


def _grid(look: Look, fields: Fields) -> str:
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


def _icon(look: Look, fields: Fields) -> str:
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


def _soft(look: Look, fields: Fields) -> str:
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


def _word(look: Look, fields: Fields) -> str:
    """One word, or one sign, on a plain ground."""
    sign = chr(0x2600 + sum(map(ord, fields[0])) % 120) if look.seed % 2 else fields[0]
    return (
        f'<div style="height:100%;display:flex;align-items:center;justify-content:center;'
        f'font-size:{3 * look.size:.0f}px">{sign}</div>'
    )


def _halves(look: Look, fields: Fields) -> str:
    """A few stripes of plain colours."""
    colours = [text.split()[2] for text in fields[: 2 + look.seed % 3]]
    return "".join(
        f'<div style="height:{100 / len(colours)}%;background:{c}"></div>' for c in colours
    )


def _spots(rng: np.random.Generator) -> Fields:
    return [
        f"{rng.integers(-20, 80)} {rng.integers(-20, 80)} #{rng.integers(0x1000000):06x}"
        for _ in range(5)
    ]


def _bits(rng: np.random.Generator, look: Look) -> Fields:
    side = 17 + look.seed % 16
    fixed = np.random.default_rng(look.seed).random(side * side) < 0.5
    free = rng.random(side * side) < 0.5
    shared = 0.3 * (look.seed % 3)
    return ["1" if bit else "0" for bit in np.where(rng.random(side * side) < shared, fixed, free)]


DESIGNS: dict[str, Design] = {
    "table": Design(lambda rng, look: _cells(rng, look.rows, _columns_of(look)), _table, True),
    "chat": Design(lambda rng, look: [words(rng, 1, 12) for _ in range(look.rows)], _chat),
    "bank": Design(
        lambda rng, look: [amount(rng), *_cells(rng, look.rows, ("words", "date", "amount"))], _bank
    ),
    "slide": Design(
        lambda rng, look: [
            words(rng, 1, 4),
            *[words(rng, 2, 7) for _ in range(look.rows // 2 + 1)],
        ],
        _slide,
    ),
    "invoice": Design(
        lambda rng, look: [
            *(name(rng), words(rng, 2, 3), str(rng.integers(10**5)), date(rng), amount(rng)),
            *_cells(rng, look.rows, ("words", "number", "amount")),
        ],
        _invoice,
        True,
    ),
    "receipt": Design(
        lambda rng, look: [
            *(date(rng), amount(rng), str(rng.integers(10**9))),
            *_cells(rng, look.rows, ("word", "amount")),
        ],
        _receipt,
        True,
    ),
    "form": Design(
        lambda rng, look: _cells(rng, look.rows, ("name",) if look.seed % 2 else ("words",)),
        _form,
        True,
    ),
    "chart": Design(
        lambda rng, look: [
            words(rng, 2, 5),
            *[f"{rng.uniform(8, 95):.1f}" for _ in range(look.rows)],
        ],
        _chart,
        True,
    ),
    "calendar": Design(
        lambda rng, look: [
            words(rng, 1, 1),
            *[words(rng, 1, 3) if rng.random() < 0.4 else " " for _ in range(36)],
        ],
        _calendar,
    ),
    "article": Design(
        lambda rng, look: [
            words(rng, 3, 7),
            *[words(rng, 25, 80) for _ in range(look.rows // 2 + 1)],
        ],
        _article,
        True,
    ),
    "mail": Design(lambda rng, look: _cells(rng, look.rows, ("name", "words", "date")), _mail),
    "quote": Design(lambda rng, look: [words(rng, 5, 14), name(rng)], _quote),
    "identity": Design(
        lambda rng, look: [name(rng), date(rng), str(rng.integers(10**7)), date(rng)],
        _identity,
        False,
        (430, 260),
    ),
    "code": Design(lambda rng, look: [words(rng, 1, 8) for _ in range(2 * look.rows)], _code),
    "grid": Design(_bits, _grid, False, (520, 520)),
    "soft": Design(lambda rng, look: _spots(rng), _soft, False, (440, 440), "none", True),
    "sign": Design(
        lambda rng, look: [words(rng, 1, 1)], _word, False, (600, 400), "changed_content", True
    ),
    "stripes": Design(lambda rng, look: _spots(rng), _halves, False, (440, 440), plain=True),
    "icon": Design(lambda rng, look: [words(rng, 2, 4)], _icon, False, (200, 200)),
}
"""Every design by its name."""
