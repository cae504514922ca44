"""TensorFlow devices on which this process's replicas run.

TensorFlow fixes its devices at first use, so `claim` must come before any other TensorFlow call of the process: a job
starts with it.
"""

import tensorflow as tf

from tfscale import cores


def visible_gpus() -> int:
    """Number of GPUs that TensorFlow can use."""
    return len(tf.config.list_physical_devices("GPU"))


def claim(replicas: int, *, local_rank: int = 0, local_size: int = 1, threads: int = 0) -> tuple[str, ...]:
    """Configures one device for each replica of this process and returns their names.

    With GPUs, the processes of a host divide them (rank `local_rank` takes every `local_size`-th), memory grows on
    demand, and replicas beyond the number of GPUs share them in turn. Without, each replica gets a logical CPU device,
    and the processes of a host divide the cores (see `cores.bind_to_share`).

    Args:
        replicas: Number of replicas that this process holds.
        local_rank: This process's number among those on this host.
        local_size: Number of processes of the job on this host.
        threads: Threads that one operation may use on a CPU, 0 for one a core. Bits depend on it.

    Raises:
        RuntimeError: TensorFlow has been used in this process already.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        own = gpus[local_rank % len(gpus) :: local_size] or [gpus[local_rank % len(gpus)]]
        tf.config.set_visible_devices(own, "GPU")
        for gpu in own:
            tf.config.experimental.set_memory_growth(gpu, True)
        return tuple(f"/GPU:{replica % len(own)}" for replica in range(replicas))
    if local_size > 1:
        cores.bind_to_share(local_rank, local_size)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration() for _ in range(replicas)])
    return tuple(f"/CPU:{replica}" for replica in range(replicas))
