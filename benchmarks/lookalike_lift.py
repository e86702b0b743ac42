"""Measure how much better than chance the sandbox's lookalikes are, on bases with a known profile.

The lift is the share of voters in the lookalike who fit the profile, divided by their share among all voters outside
the base. It can be at most 1 divided by that second share. A fifth of each base is noise: voters from outside the
profile.

Run: python benchmarks/lookalike_lift.py [voters]
"""

from __future__ import annotations

import sys
import time

import numpy as np

from indigo_async.sandbox.people import VoterFile, build_lookalike

PROFILES = {
    "women over 55 who lean Democratic": "gender = 'F' AND dob < DATE '1971-11-01' AND support_democratic > 0.6",
    "Republicans in PA, OH, MI and WI": "support_republican > 0.6 AND reg_state IN ('PA', 'OH', 'MI', 'WI')",
    "under 35 who skip midterms": "dob > DATE '1991-11-01' AND voted_2024_general AND NOT voted_2022_general",
}
BASE_SIZE = 1_500
NOISE = 0.2


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    voters = VoterFile.synthetic(count)
    rng = np.random.default_rng(0)
    print(f"{count:,} voters, bases of {BASE_SIZE:,} people with {NOISE:.0%} noise, seed 0\n")
    print(f"{'profile':<36}{'on file':>9}{'size':>8}{'fits':>8}{'lift':>7}{'at most':>9}{'seconds':>9}")
    for title, condition in PROFILES.items():
        with voters.cursor() as cursor:
            query = f"SELECT coalesce({condition}, false) AS fits FROM voters ORDER BY voter"
            fits = np.asarray(cursor.execute(query).fetchnumpy()["fits"], dtype=bool)
        inside = rng.choice(np.flatnonzero(fits), round(BASE_SIZE * (1 - NOISE)), replace=False)
        outside = rng.choice(np.flatnonzero(~fits), round(BASE_SIZE * NOISE), replace=False)
        base = np.concatenate([inside, outside]).astype(np.int32)
        rest = np.ones(count, dtype=bool)
        rest[base] = False
        size = int(fits[rest].sum()) // 2
        start = time.perf_counter()
        lookalike = build_lookalike(voters, base, size=size, include_base=False, filters=None)
        seconds = time.perf_counter() - start
        share, chance = fits[lookalike.voters].mean(), fits[rest].mean()
        lifts = f"{share / chance:>7.1f}{1 / chance:>9.1f}"
        print(f"{title:<36}{fits.mean():>9.1%}{size:>8,}{share:>8.1%}{lifts}{seconds:>9.2f}")
    voters.close()


if __name__ == "__main__":
    main()
