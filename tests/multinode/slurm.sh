#!/usr/bin/env bash
# Slurm's daemons on one host of run.sh: `slurm.sh FOLDER`, first on worker-1, then on worker-2.
# FOLDER is shared. The daemons end with the host.
set -euo pipefail
shared=$1 host=$(hostname)
mkdir -p "$shared" /run/munge "/run/slurm-$host"
if [ "$host" = worker-1 ]; then
    dd if=/dev/urandom of="$shared/munge.key" bs=1024 count=1 status=none
    chmod 600 "$shared/munge.key"
    cat > "$shared/slurm.conf" << END
ClusterName=two
SlurmctldHost=worker-1(10.77.0.1)
SlurmUser=root
StateSaveLocation=/run/slurm-worker-1
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmdSpoolDir=/run/slurm-%n
SlurmctldLogFile=$shared/slurmctld.log
SlurmdLogFile=$shared/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
NodeName=worker-1 NodeAddr=10.77.0.1 CPUs=2
NodeName=worker-2 NodeAddr=10.77.0.2 CPUs=2
PartitionName=all Nodes=ALL Default=YES State=UP
END
fi
munged --force --key-file="$shared/munge.key" --socket=/run/munge/munge.socket.2 --pid-file=/run/munge/munged.pid \
    --log-file="/run/munge/munged.log" --seed-file=/run/munge/seed > /dev/null 2>&1
if [ "$host" = worker-1 ]; then
    slurmctld -f "$shared/slurm.conf"
fi
slurmd -f "$shared/slurm.conf" -N "$host"
