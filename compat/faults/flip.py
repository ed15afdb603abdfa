#!/usr/bin/env python3
"""Changes one bit of the third batch of a .log file; prints the batch's first and last offset."""

import struct
import sys

path = sys.argv[1]
with open(path, "r+b") as log:
    data = log.read()
    position = 0
    for _ in range(2):
        position += 12 + struct.unpack_from(">i", data, position + 8)[0]
    base, length = struct.unpack_from(">qi", data, position)
    delta = struct.unpack_from(">i", data, position + 23)[0]
    end = position + 12 + length
    log.seek(end - 10)
    log.write(bytes([data[end - 10] ^ 0x10]))
print(base, base + delta)
