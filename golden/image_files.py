# SPDX-License-Identifier: Apache-2.0
"""Picture files to test with: PNG of every colour type and depth (Pillow cannot write most of
them), JPEG and WebP of every kind that Pillow writes and some it does not, orientations in EXIF
and XMP, whole and damaged."""
import io
import struct
import zlib

import numpy as np
from PIL import Image

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}   # of a PNG colour type
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
         (0, 1, 1, 2))


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def pack_rows(samples, depth):
    """Rows of [h][w][channels] samples, each behind filter type 0."""
    out = b""
    for row in samples:
        flat = row.reshape(-1)
        if depth == 16:
            data = flat.astype(">u2").tobytes()
        elif depth == 8:
            data = flat.astype(np.uint8).tobytes()
        else:
            bits = "".join(format(int(v), f"0{depth}b") for v in flat)
            bits += "0" * (-len(bits) % 8)
            data = int(bits, 2).to_bytes(len(bits) // 8, "big")
        out += b"\0" + data
    return out


def make_png(rng, width, height, color, depth, interlaced, transparent):
    """A random PNG of any mode: Pillow cannot write most of them."""
    samples = rng.integers(0, 1 << depth, (height, width, CHANNELS[color]))
    if color == 0 and depth == 16:   # Pillow clips at 255: keep some below
        samples = np.where(rng.random(samples.shape) < 0.5, samples, samples >> 8)
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    raw = b""
    for x, y, dx, dy in passes:
        part = samples[y::dy, x::dx]
        raw += pack_rows(part, depth) if part.size else b""
    out = b"\x89PNG\r\n\x1a\n"
    out += chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced))
    if color == 3:
        out += chunk(b"PLTE", rng.integers(0, 256, 3 << depth, dtype=np.uint8).tobytes())
    keys = {0: struct.pack(">H", 1), 2: struct.pack(">3H", 1, 2, 3), 3: b"\x10\x80"}
    if transparent and color in keys:
        out += chunk(b"tRNS", keys[color])
    return out + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")


def random_png(rng, width, height):
    color = int(rng.choice(list(DEPTHS)))
    return make_png(rng, width, height, color, int(rng.choice(DEPTHS[color])),
                    int(rng.integers(2)), int(rng.integers(2)))

# ------------------------------------------------------- JPEG, WebP, orientation

def wavy(rng, width, height, mode="RGB"):
    """Waves and noise: smooth and rough parts, so that lossy coders have work."""
    channels = {"L": 1, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    y, x = np.mgrid[0:height, 0:width]
    layers = [128 + 90 * np.sin(x / (4 + c) + y / (9 + 2 * c)) for c in range(channels)]
    a = np.stack(layers, -1) + rng.normal(0, 12, (height, width, channels))
    a = np.clip(a, 0, 255).astype(np.uint8)
    return Image.fromarray(a[..., 0] if channels == 1 else a, mode)


def save_as(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


# name: mode of the picture, options of Pillow's writer
JPEGS = {
    "444": ("RGB", {"subsampling": "4:4:4", "quality": 90}),
    "422": ("RGB", {"subsampling": "4:2:2", "quality": 80}),
    "420": ("RGB", {"subsampling": "4:2:0", "quality": 75}),
    "411": ("RGB", {"subsampling": "4:1:1", "quality": 75}),
    "rgb": ("RGB", {"keep_rgb": True, "subsampling": "4:4:4", "quality": 85}),
    "grey": ("L", {"quality": 60}),
    "cmyk": ("CMYK", {"quality": 85}),
    "progressive": ("RGB", {"progressive": True, "quality": 85}),
    "progressive_cmyk": ("CMYK", {"progressive": True, "quality": 70}),
    "progressive_grey": ("L", {"progressive": True, "quality": 90}),
    "restarts": ("RGB", {"restart_marker_blocks": 2, "quality": 50}),
    "restarts_progressive": ("RGB", {"restart_marker_rows": 1, "progressive": True}),
    "optimized": ("RGB", {"optimize": True, "quality": 100}),
}
WEBPS = {
    "lossy": ("RGB", {"quality": 70}),
    "lossy_alpha": ("RGBA", {"quality": 40}),
    "lossless": ("RGB", {"lossless": True}),
    "lossless_alpha": ("RGBA", {"lossless": True}),
    "lossless_exact": ("RGBA", {"lossless": True, "exact": True}),
}


def ycck(data):
    """A CMYK file whose Adobe marker says YCCK: other colours, a valid file."""
    at = data.index(b"Adobe") + 11
    return data[:at] + b"\2" + data[at + 1:]


def upright_chroma(data):
    """4:2:2 blocks read as 4:4:0, which Pillow cannot write: a scrambled but valid file whose
    MCUs, 16 x 8, become 8 x 16."""
    at = data.index(b"\xff\xc0")
    height, width = struct.unpack(">HH", data[at + 5:at + 9])
    size = struct.pack(">HH", -(-height // 8) * 16, -(-width // 16) * 8)
    return data[:at + 5] + size + data[at + 9:at + 11] + b"\x12" + data[at + 12:]


def first_scan(data):
    """A progressive file that ends behind its first scan."""
    first = data.index(b"\xff\xda")
    second = data.index(b"\xff\xda", first + 2)
    while data[second - 2:second] and b"\xff\xc4" in data[first:second]:
        second = data.index(b"\xff\xc4", first)
    return data[:second] + b"\xff\xd9"


def tiff(entries, order="<", following=0):
    """A TIFF directory: entries of (tag, type, count, four bytes)."""
    head = b"II*\0" if order == "<" else b"MM\0*"
    out = head + struct.pack(order + "LH", 8, len(entries))
    for tag, kind, count, value in entries:
        out += struct.pack(order + "HHL", tag, kind, count) + value
    return out + struct.pack(order + "L", following)


def orientation(n, order="<"):
    return tiff([(274, 3, 1, struct.pack(order + "HH", n, 0))], order)


def with_exif(data, exif=None, xmp=None, late=False):
    """The same file with an EXIF and an XMP block."""
    if data[:2] == b"\xff\xd8":
        blocks = []
        if xmp is not None:
            blocks.append(b"http://ns.adobe.com/xap/1.0/\0" + xmp)
        if exif is not None:
            blocks.append(b"Exif\0\0" + exif)
        blocks = [b"\xff\xe1" + struct.pack(">H", len(b) + 2) + b for b in blocks]
        return data[:2] + b"".join(blocks) + data[2:]
    if data[:4] == b"\x89PNG":
        blocks = b"" if exif is None else chunk(b"eXIf", exif)
        if xmp is not None:
            blocks += chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
        at = len(data) - 12 if late else 33
        return data[:at] + blocks + data[at:]
    width, height = Image.open(io.BytesIO(data)).size
    body = data[12:]
    flags = 8 * (exif is not None) + 4 * (xmp is not None)
    if body[:4] == b"VP8X":
        flags, body = flags | body[8], body[18:]
    body = (b"VP8X" + struct.pack("<IB3x", 10, flags) + struct.pack("<I", width - 1)[:3]
            + struct.pack("<I", height - 1)[:3] + body)
    for name, block in ((b"EXIF", exif), (b"XMP ", xmp)):
        if block is not None:
            body += name + struct.pack("<I", len(block)) + block + b"\0" * (len(block) & 1)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def raw_profile(data, exif):
    """ImageMagick's older way to keep EXIF in a PNG file."""
    block = b"Exif\0\0" + exif
    text = b"\nexif\n%8d\n%s\n" % (len(block), block.hex().encode())
    block = b"Raw profile type exif\0\0" + zlib.compress(text)
    return data[:33] + chunk(b"zTXt", block) + data[33:]


def animation(rng):
    """Two frames, the first a part of the canvas."""
    frames = [wavy(rng, 12, 9), wavy(rng, 12, 9)]
    data = save_as(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True,
                   duration=50)
    at = data.index(b"VP8X") + 12   # the canvas: 3 columns and 2 rows more than the frames
    wide = struct.pack("<I", 14)[:3] + struct.pack("<I", 10)[:3]
    return data[:at] + wide + data[at + 6:]


def random_picture(rng, width, height, n):
    """The n-th of a round through all kinds: name ending, bytes."""
    kinds = ["png"] * 3 + ["jpg"] * 2 + ["webp"] * 2
    kind = kinds[n % len(kinds)]
    if kind == "png":
        data = random_png(rng, width, height)
    else:
        table = JPEGS if kind == "jpg" else WEBPS
        mode, options = table[sorted(table)[n // len(kinds) % len(table)]]
        data = save_as(wavy(rng, width, height, mode), "JPEG" if kind == "jpg" else "WEBP",
                       **options)
        if mode == "CMYK" and rng.integers(2):
            data = ycck(data)
    if rng.integers(2):
        data = with_exif(data, orientation(int(rng.integers(9)), rng.choice(["<", ">"])),
                         late=bool(rng.integers(2)))
    return kind, data


def format_files():
    """Small files of every kind: name, bytes."""
    rng = np.random.default_rng(11)
    for name, (mode, options) in JPEGS.items():
        data = save_as(wavy(rng, 37, 21, mode), "JPEG", **options)
        yield f"{name}.jpg", data
        if name == "422":
            yield "440.jpg", upright_chroma(data)
        if name == "cmyk":
            yield "ycck.jpg", ycck(data)
    yield "tall.jpg", save_as(wavy(rng, 1, 301), "JPEG", quality=70)
    for name, (mode, options) in WEBPS.items():
        yield f"{name}.webp", save_as(wavy(rng, 37, 21, mode), "WEBP", **options)
    palette = wavy(rng, 37, 21).quantize(7).convert("RGB")
    yield "palette.webp", save_as(palette, "WEBP", lossless=True)
    yield "wide.webp", save_as(wavy(rng, 400, 1), "WEBP", lossless=True)
    yield "animation.webp", animation(rng)
    png = save_as(wavy(rng, 9, 6).quantize(5), "PNG", optimize=True)
    jpeg = save_as(wavy(rng, 9, 6, "L"), "JPEG", optimize=True, quality=30)
    webp = save_as(wavy(rng, 9, 6).quantize(5).convert("RGB"), "WEBP", lossless=True)
    for n in range(1, 9):
        order = "<>"[n % 2]
        yield f"turn{n}.png", with_exif(png, orientation(n, order), late=n > 4)
        yield f"turn{n}.jpg", with_exif(jpeg, orientation(n, order))
        yield f"turn{n}.webp", with_exif(webp, orientation(n, order))
    yield "profile6.png", raw_profile(png, orientation(6))
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'
    yield "xmp8.png", with_exif(png, xmp=xmp % 8)
    yield "xmp5.jpg", with_exif(jpeg, xmp=xmp % 5)
    yield "xmp3.webp", with_exif(webp, xmp=xmp % 3)


def exif_cases():
    """EXIF and XMP blocks: what they hold, and hostile ones; then random damage."""
    rng = np.random.default_rng(5)
    six = struct.pack("<HH", 6, 0)
    yield b"", b""
    for n in range(10):
        yield orientation(n), b""
        yield b"", b"<tiff:Orientation>%d</tiff:Orientation>" % n
    for kind in range(19):
        yield tiff([(274, kind, 1, six)]), b'tiff:Orientation="7"'
        yield tiff([(274, kind, 2, struct.pack("<L", 26))]) + struct.pack("<LLd", 12, 2, 6.0), b""
        yield tiff([(274, kind, 1, struct.pack("<f", 5))]), b""
    yield tiff([(274, 3, 1, six)], following=8), b""                     # a chain in a circle
    yield tiff([(274, 3, 1, six)], following=0xffffffff), b""
    yield b"II*\0" + struct.pack("<L", 0) + orientation(6)[8:], b""      # a directory at 0
    yield b"II*\0" + struct.pack("<L", 0xfffffff0) + orientation(6)[8:], b'tiff:Orientation="3"'
    yield tiff([(271, 2, 0xffffffff, six), (274, 3, 1, six)]), b""       # a count beyond the end
    yield tiff([(271, 2, 9, b"\xff" * 4), (274, 3, 1, six)]), b""        # an offset beyond the end
    yield tiff([(274, 3, 0x80000001, six)]), b""
    yield tiff([(274, 3, 0, six), (274, 3, 1, six)]), b""
    yield tiff([(271, 7, 1, six), (271, 2, 9, b"\xff" * 4), (274, 3, 1, six)]), b""
    for head in (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"MM\0+", b"II+\0", b"XX*\0", b"Exif"):
        yield head + orientation(6)[4:], b""
    for cut in range(27):
        yield orientation(8)[:cut], b'tiff:Orientation="2"'
    for pre in (1, 2, 3):
        yield b"Exif\0\0" * pre + orientation(7, ">"), b""
    for text in (b'tiff:Orientation=tiff:Orientation="4"', b'tiff:Orientation="',
                 b"tiff:Orientation", b'tiff:Orientation="x6"', b'Orientation="6"',
                 b"tiff:Orientation>9 tiff:Orientation>6"):
        yield b"", text
    for _ in range(100):
        order = "<>"[int(rng.integers(2))]
        entries = [(int(rng.choice([274, 271, 282])), int(rng.integers(18)),
                    int(rng.choice([1, 1, 2, 3, 1000])),
                    rng.integers(0, 9, 4).astype(np.uint8).tobytes())
                   for _ in range(int(rng.integers(4)))]
        block = bytearray(tiff(entries, order) + rng.bytes(24))
        block[int(rng.integers(len(block)))] = int(rng.integers(256))
        yield bytes(block), b'tiff:Orientation="5"' if rng.integers(2) else b""
