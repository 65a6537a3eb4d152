"""Lists of model types: those whose memory Ingot describes, those whose it does not, and what their configs omit."""

from __future__ import annotations

from collections.abc import Sequence

# Model types whose cache holds latent vectors where their config has kv_lora_rank.
LATENT_MODEL_TYPES = frozenset({"deepseek_v2", "deepseek_v3", "kimi_k2", "glm4_moe_lite", "pangu_ultra_moe", "axk1"})
# Encoders for embeddings and ranking: they attend once and keep nothing.
CACHELESS_MODEL_TYPES = frozenset({
    "bert", "roberta", "xlm-roberta", "modernbert", "nomic_bert", "distilbert", "new", "gte", "camembert", "electra",
})  # fmt: skip
# Speech models whose decoder attends to an encoder's output as well.
CROSS_MODEL_TYPES = frozenset({"whisper"})
# Decoders that read as layers of full, sliding, chunked, latent or state attention by the fields of their config
# (vLLM 0.32, `model_executor/models`), and encoders.
MODELLED = LATENT_MODEL_TYPES | CACHELESS_MODEL_TYPES | CROSS_MODEL_TYPES | frozenset({
    "llama", "llama4", "llama4_text", "mllama", "mllama_text_model", "llava", "llava_next", "llava_onevision",
    "mistral", "mistral3", "ministral", "ministral3", "mixtral", "pixtral",
    "qwen", "qwen2", "qwen2_moe", "qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text", "qwen2_5_omni_text",
    "qwen3", "qwen3_moe", "qwen3_next", "qwen3_vl", "qwen3_vl_text", "qwen3_vl_moe", "qwen3_vl_moe_text",
    "qwen3_omni_moe_text", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text",
    "gemma", "gemma2", "gemma3", "gemma3_text", "gemma3n", "gemma3n_text", "gemma4", "gemma4_text", "paligemma",
    "phi", "phi3", "phi3_v", "phi4mm", "phi4_multimodal", "phimoe",
    "gpt_oss", "gpt2", "gptj", "gpt_neox", "gpt_bigcode", "opt", "bloom", "mpt", "falcon", "RefinedWeb",
    "RefinedWebModel", "starcoder2", "dbrx", "stablelm", "olmo", "olmo2", "olmo3", "olmoe", "apertus", "arcee",
    "cohere", "cohere2", "deepseek", "dots1", "dots_ocr", "glm", "glm4", "glm4_moe", "glm4v", "glm4v_text", "glm4v_moe",
    "glm4v_moe_text", "chatglm", "baichuan", "internlm2", "internlm3", "internvl_chat", "minicpm", "minicpmv",
    "minimax_m2", "mimo", "seed_oss", "smollm3", "ernie4_5", "ernie4_5_moe", "hunyuan_v1_dense", "hunyuan_v1_moe",
    "exaone", "exaone4", "granite", "granitemoe", "granitemoeshared", "granitemoehybrid", "bamba", "mamba2",
    "nemotron", "nemotron_h",
})  # fmt: skip
# Designs with caches that are not computed here. The value says what is missing.
NOT_MODELLED = {
    "deepseek_v32": "its sparse attention keeps an indexer cache beside the latent one",
    "deepseek_v4": "its layers compress their caches at several ratios",
    "deepseek_v41": "its layers compress their caches at several ratios",
    "glm_moe_dsa": "its sparse attention keeps an indexer cache beside the latent one",
    "glm5_next": "its sparse attention keeps an indexer cache beside the latent one",
    "kimi_linear": "its Kimi delta attention layers have states that are not described here",
    "minimax_text_01": "its lightning attention layers have states that are not described here",
    "minimax_m1": "its lightning attention layers have states that are not described here",
    "bailing_hybrid": "its lightning attention layers have states that are not described here",
    "falcon_h1": "its layers keep attention and state side by side",
    "jamba": "its Mamba-1 layers have states that are not described here",
    "mamba": "its Mamba-1 layers have states that are not described here",
    "falcon_mamba": "its Mamba-1 layers have states that are not described here",
    "plamo2": "its Mamba layers have states that are not described here",
    "zamba2": "its attention blocks are shared between layers",
    "lfm2": "its short convolutions have states that are not described here",
    "lfm2_moe": "its short convolutions have states that are not described here",
    "rwkv": "its recurrent states are not described here",
    "longcat_flash": "it has two attention layers per decoder layer",
    "minicpm3": "its latent attention is cached uncompressed",
    "mimo_v2_flash": "its sliding layers have other key-value heads than its full ones",
    "nemotron-nas": "its layers differ one by one (block_configs)",
    "step3": "its attention factors are not described here",
    "t5": "an encoder's and a decoder's memory are not described here",
    "bart": "an encoder's and a decoder's memory are not described here",
}
UNGATED_MODEL_TYPES = frozenset({
    "opt", "gpt2", "gpt_neox", "gpt_bigcode", "gptj", "falcon", "bloom", "mpt", "phi", "starcoder2", "nemotron",
    "nemotron_h", "whisper", "bert", "roberta", "xlm-roberta", "distilbert", "camembert", "electra",
})  # fmt: skip
# Families whose configs leave to code that the output matrix is the embedding; encoders have none.
TIED_MODEL_TYPES = CACHELESS_MODEL_TYPES | frozenset({
    "gemma", "gemma2", "gemma3_text", "gemma3", "gemma3n_text", "gpt2", "cohere", "cohere2", "whisper",
})  # fmt: skip


def why_not_modelled(model_types: Sequence[str]) -> str | None:
    """Why the memory of a model of these types, the decoder's first, is not described here; None where it is."""
    for model_type in model_types:
        if model_type in NOT_MODELLED:
            return NOT_MODELLED[model_type]
    decoder = model_types[0]
    if decoder in MODELLED:
        return None
    return (
        "its model type is on no list of those whose attention is described here" if decoder else "it has no model_type"
    )
