"""Read a partition's segments from the broker's disk and print what its record batches are.

    batches.py FILE.log...   ->   records=1000000 codec=zstd producer=no

So a story can tell that a codec was really used, and that an idempotent producer really was one:
a client that finds no support in the broker sends plain batches and says nothing.
The codec is the one that most records came in: librdkafka leaves a batch plain that a codec would not
shrink. If only some batches have a producer id the answer is `no,yes`. The header is Kafka's record
batch v2, 61 bytes.
"""

import struct
import sys
from collections import Counter

HEADER = struct.Struct(">qiibIhiqqqhii")
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]

codecs, producers = Counter(), set()
for name in sys.argv[1:]:
    with open(name, "rb") as segment:
        while len(header := segment.read(HEADER.size)) == HEADER.size:
            fields = HEADER.unpack(header)
            if fields[1] == 0:  # space reserved ahead of the end
                break
            assert fields[3] == 2, f"magic is {fields[3]}"
            codecs[CODECS[fields[5] & 7]] += fields[12]
            producers.add("yes" if fields[9] >= 0 else "no")
            segment.seek(fields[1] + 12 - HEADER.size, 1)
print(f"records={codecs.total()} codec={codecs.most_common(1)[0][0]} producer={','.join(sorted(producers))}")
