#!/bin/sh
# SLURM and munge from Debian's packages, where they are missing. Where that can't be, says why; the test then skips.
set -eu
PATH=$PATH:/usr/sbin
for program in munged slurmctld slurmd srun; do
  command -v "$program" >/dev/null || missing="${missing:-} $program"
done
[ -n "${missing:-}" ] || exit 0
if ! command -v apt-get >/dev/null; then
  echo "tests/slurm:$missing missing, and no apt-get to install them: install SLURM's daemons and munge yourself"
elif [ "$(id -u)" -ne 0 ]; then
  echo "tests/slurm:$missing missing: sudo apt-get install --no-install-recommends slurm-wlm munge"
else
  export DEBIAN_FRONTEND=noninteractive
  apt-get install --yes --no-install-recommends slurm-wlm munge ||
    { apt-get update && apt-get install --yes --no-install-recommends slurm-wlm munge; }
fi
