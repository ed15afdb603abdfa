"""Write 1,000,000 lines of 100 bytes each: all different, the same on every run, as compressible as logs."""

import random
import sys

words = "GET PUT POST /cart /orders /login user item price total ok failed timeout retry east west".split()
draw = random.Random(1)
tails = [" ".join(draw.choices(words, k=30))[:67] for _ in range(10_000)]
for number in range(1_000_000):
    sys.stdout.write(f"{number:08d} {draw.getrandbits(88):022x} {tails[number * 7919 % 10_000]} \n")
