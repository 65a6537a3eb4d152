"""Numbers are read out of what vLLM printed."""

from ingot.engines.observed import Observed, parse

GIB = 1024**3

# A start of vLLM 0.32 on the processor, as printed (log prefixes shortened), and its metric.
CPU_LOG = """\
INFO vLLM API server version 0.32.0
INFO CPU KV cache size: 174,720 tokens, Maximum concurrency for 4,096 tokens per request: 42.66x
""".splitlines()
CPU_METRICS = [
    "# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig",
    'vllm:cache_config_info{block_size="128",cache_dtype="auto",kv_cache_max_concurrency="42.65625",'
    'kv_cache_size_tokens="174720",num_gpu_blocks="1365",engine="0"} 1.0',
]

# Wordings of vLLM 0.32's sources (v1/worker/gpu_worker.py, v1/core/kv_cache_utils.py), two ranks.
GPU_LOG = """\
(Worker_TP0) INFO 07-23 10:22:20 [default_loader.py:272] Loading weights took 3.22 seconds
(Worker_TP1) INFO 07-23 10:22:20 [default_loader.py:272] Loading weights took 3.31 seconds
(Worker_TP0) INFO Model loading took 7.12 GiB memory and 3.401 seconds
(Worker_TP1) INFO Model loading took 7.20 GiB memory and 3.402 seconds
(Worker_TP0) INFO Available KV cache memory: 11.50 GiB
(Worker_TP1) INFO Available KV cache memory: 11.25 GiB
(EngineCore) INFO GPU KV cache size: 210,640 tokens, Maximum concurrency for 8,192 tokens per request: 25.71x
(Worker_TP0) INFO Graph capturing finished in 6 secs, took 0.50 GiB
(Worker_TP0) INFO Free memory on device (21.75/22.00 GiB) on startup. Desired GPU memory \
utilization is (0.92, 20.24 GiB). Actual usage is 7.50 GiB for consumed memory (weights + non-torch), \
1.25 GiB for peak activation, and 0.50 GiB for CUDAGraph memory.
""".splitlines()


def test_a_start_on_the_processor() -> None:
    assert parse(CPU_LOG, CPU_METRICS) == Observed(
        engine_version="0.32.0",
        kv_cache_tokens=174720,
        max_concurrency=42.65625,
        num_blocks=1365,
        block_size=128,
    )


def test_of_several_ranks_the_tightest_counts() -> None:
    assert parse(GPU_LOG, []) == Observed(
        weights_bytes=int(7.20 * GIB),
        available_kv_bytes=int(11.25 * GIB),
        graphs_bytes=int(0.5 * GIB),
        consumed_bytes=int(7.5 * GIB),
        activation_bytes=int(1.25 * GIB),
        total_bytes=22 * GIB,
        free_at_start_bytes=int(21.75 * GIB),
        kv_cache_tokens=210640,
        max_concurrency=25.71,
        loading_s=3.31,
    )


def test_a_log_that_says_nothing_measures_nothing() -> None:
    assert parse(["INFO ready"], ["process_open_fds 12"]) == Observed()


def test_a_start_that_compiled_says_so() -> None:
    compiling = "(EngineCore) INFO Compiling a graph for compile range (1, 2048) takes 41.87 s"
    loading = (
        "(EngineCore) INFO Directly load the compiled graph(s) for compile range (1, 2048) from the cache, took 0.9 s"
    )
    assert parse([*GPU_LOG, compiling], []).compiled
    assert not parse([*GPU_LOG, loading], []).compiled
