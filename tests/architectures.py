"""Some seventy architectures of a few thousand weights, each with a batch that it takes.

Transformers of any kind, layers and networks of `torch.nn`, convolutional networks and vision
transformers written as timm writes them, and adapters of peft.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tiny_transformers as tiny
import torch
import transformers
from torch import nn

from initscope.models import MLP, gpt2

SIZES = tiny.SIZES
GROUPED = SIZES | {"num_key_value_heads": 2}
HEADS = GROUPED | {"head_dim": 8}
IMAGES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "image_size": 16, "patch_size": 8,
}  # fmt: skip
AUDIO = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "vocab_size": 64, "conv_dim": (16, 16), "conv_stride": (4, 4), "conv_kernel": (8, 4),
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4, "feat_extract_norm": "layer",
    "mask_time_prob": 0.0, "num_feat_extract_layers": 2,
}  # fmt: skip
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


@dataclass(frozen=True)
class Architecture:
    """How a model is built, and the keyword or only argument that it is called with."""

    source: str
    build: Callable[[], nn.Module]
    batch: Callable[[], Any]


def tokens(*extra: str) -> Callable[[], dict[str, torch.Tensor]]:
    def batch() -> dict[str, torch.Tensor]:
        ids = torch.randint(3, 60, (2, 10), generator=torch.Generator().manual_seed(0))
        return {"input_ids": ids, **dict.fromkeys(extra, ids)}

    return batch


def inputs(*shape: int, name: str = "", **more: torch.Tensor) -> Callable[[], Any]:
    def batch() -> Any:
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        return {name: x, **more} if name else x

    return batch


def of_transformers(name: str, kind: str, /, **fields: Any) -> Callable[[], nn.Module]:
    """Return what builds a model of transformers by its class and its config."""

    def build() -> nn.Module:
        config = getattr(transformers, f"{name}Config")(**fields)
        return getattr(transformers, kind)(config)

    return build


LABELS = torch.tensor([0, 1])
LANGUAGE = tokens("labels")
PIXELS = inputs(2, 3, 16, 16, name="pixel_values")
CLASSIFIED = inputs(2, 3, 16, 16, name="pixel_values", labels=LABELS)


def causal(name: str, **fields: Any) -> tuple[Callable[[], nn.Module], Callable[[], Any]]:
    kind = name.removesuffix("Text") if name.endswith("Text") else name
    return of_transformers(name, f"{kind}ForCausalLM", **fields), LANGUAGE


def masked(name: str, **fields: Any) -> tuple[Callable[[], nn.Module], Callable[[], Any]]:
    return of_transformers(name, f"{name}ForMaskedLM", **fields), LANGUAGE


def images(name: str, **fields: Any) -> tuple[Callable[[], nn.Module], Callable[[], Any]]:
    return of_transformers(name, f"{name}ForImageClassification", **fields), CLASSIFIED


def deepseek(version: str) -> tuple[Callable[[], nn.Module], Callable[[], Any]]:
    sizes = SIZES | {
        "kv_lora_rank": 8, "q_lora_rank": 12, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8,
        "v_head_dim": 8, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 2,
        "topk_group": 1, "moe_intermediate_size": 16, "first_k_dense_replace": 1,
        "num_key_value_heads": 4,
    }  # fmt: skip
    return causal(f"Deepseek{version}", **sizes)


def clip() -> nn.Module:
    text = SIZES | {"max_position_embeddings": 16} | SPECIAL
    config = transformers.CLIPConfig(text_config=text, vision_config=IMAGES, projection_dim=16)
    return transformers.CLIPModel(config)


def siglip() -> nn.Module:
    text = SIZES | {"max_position_embeddings": 16} | SPECIAL
    config = transformers.SiglipConfig(text_config=text, vision_config=IMAGES)
    return transformers.SiglipModel(config)


def llava() -> nn.Module:
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**IMAGES),
        text_config=transformers.LlamaConfig(**GROUPED),
        image_token_index=63, image_seq_length=4, vision_feature_layer=-1,
    )  # fmt: skip
    return transformers.LlavaForConditionalGeneration(config)


def whisper() -> nn.Module:
    config = transformers.WhisperConfig(
        d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, vocab_size=64,
        num_mel_bins=8, decoder_start_token_id=1, max_source_positions=20,
        max_target_positions=20, **SPECIAL,
    )  # fmt: skip
    return transformers.WhisperForConditionalGeneration(config)


BART = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "vocab_size": 64,
    "max_position_embeddings": 32, "decoder_start_token_id": 2, "forced_eos_token_id": None,
} | SPECIAL  # fmt: skip


# --- written by hand, as timm and plain torch have them ----------------------------------------


class Residual(nn.Module):
    def __init__(self, inner: nn.Module, skip: nn.Module | None = None) -> None:
        super().__init__()
        self.inner, self.skip = inner, skip or nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.skip(x) + self.inner(x)


def resnet() -> nn.Module:
    def branch(a: int, b: int, stride: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(),
            nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b),
        )  # fmt: skip

    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        Residual(branch(8, 8, 1)), nn.ReLU(),
        Residual(branch(8, 16, 2), nn.Conv2d(8, 16, 1, 2, bias=False)), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip


class SqueezeExcite(nn.Module):
    def __init__(self, n: int, reduced: int) -> None:
        super().__init__()
        self.conv_reduce, self.conv_expand = nn.Conv2d(n, reduced, 1), nn.Conv2d(reduced, n, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.conv_expand(torch.relu(self.conv_reduce(pooled))))


def efficientnet() -> nn.Module:
    def inverted(n: int, wide: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(n, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.SiLU(),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False), nn.BatchNorm2d(wide),
            nn.SiLU(), SqueezeExcite(wide, 4), nn.Conv2d(wide, n, 1, bias=False),
            nn.BatchNorm2d(n),
        )  # fmt: skip

    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU(),
        Residual(inverted(8, 24)), Residual(inverted(8, 24)),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip


def vgg() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Dropout(),
        nn.Linear(32, 5),
    )  # fmt: skip


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(n, n, 7, padding=3, groups=n)
        self.norm = nn.LayerNorm(n)
        self.mlp = MixerBlock.mlp(n)
        self.gamma = nn.Parameter(1e-6 * torch.ones(n))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.mlp(self.norm(self.conv_dw(x).permute(0, 2, 3, 1))) * self.gamma
        return x + y.permute(0, 3, 1, 2)


def convnext() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 4, 4), LayerNorm2d(16), ConvNextBlock(16), ConvNextBlock(16),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(16), nn.Linear(16, 5),
    )  # fmt: skip


class MixerBlock(nn.Module):
    def __init__(self, n_tokens: int, n: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(n), nn.LayerNorm(n)
        self.mlp_tokens, self.mlp_channels = self.mlp(n_tokens), self.mlp(n)

    @staticmethod
    def mlp(n: int) -> nn.Module:
        module = nn.Sequential()
        module.fc1, module.act, module.fc2 = nn.Linear(n, 2 * n), nn.GELU(), nn.Linear(2 * n, n)
        return module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.mlp_tokens(self.norm1(x).mT).mT
        return x + self.mlp_channels(self.norm2(x))


class Patches(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, n, 4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x).flatten(2).mT


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = Patches(32)
        self.blocks = nn.Sequential(MixerBlock(16, 32), MixerBlock(16, 32))
        self.head = nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)).mean(1))


class TimmAttention(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.num_heads = 4
        self.qkv, self.proj = nn.Linear(n, 3 * n), nn.Linear(n, n)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class TimmBlock(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(n), nn.LayerNorm(n)
        self.attn, self.mlp = TimmAttention(n), MixerBlock.mlp(n)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TimmVit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, 32))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 17, 32))
        self.patch_embed = Patches(32)
        self.blocks = nn.Sequential(TimmBlock(32), TimmBlock(32))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


class Recurrent(nn.Module):
    def __init__(self, kind: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(60, 16), kind(16, 24, 2, batch_first=True)
        self.readout = nn.Linear(24, 60)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.readout(self.rnn(self.embedding(ids))[0])


class SelfAttention(nn.MultiheadAttention):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x, x, x)[0]


class EncoderDecoder(nn.Transformer):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x, x.flip(1))


class Unet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, 2, 1)
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 4, 2, 2)
        self.out = nn.Conv2d(7, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.up(torch.relu(self.middle(torch.relu(self.down(x)))))
        return self.out(torch.cat([x, y], 1))


class TwoTowers(nn.Module):
    """Two inputs that one bilinear form compares, as rankers do."""

    def __init__(self) -> None:
        super().__init__()
        self.user, self.item = MLP([8, 16, 8]), MLP([8, 16, 8])
        self.compare = nn.Bilinear(8, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.compare(self.user(x), self.item(x.flip(0)))


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = MLP([12, 16, 4]), MLP([4, 16, 12])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.encoder(x))


class MixtureOfExperts(nn.Module):
    """A layer of experts written by hand: each token goes through all, weighted."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(16, 3)
        self.experts = nn.ModuleList(MLP([16, 32, 16]) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        share = self.gate(x).softmax(-1)
        return sum(share[..., k, None] * expert(x) for k, expert in enumerate(self.experts))


# --- adapters ----------------------------------------------------------------------------------


def lora(base: Callable[[], nn.Module], *targets: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import peft

        config = peft.LoraConfig(r=4, target_modules=list(targets), **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the hub, and of fan_in_fan_out
            return peft.get_peft_model(base(), config)

    return build


def ia3() -> nn.Module:
    import peft

    config = peft.IA3Config(target_modules=["k_proj", "v_proj", "down_proj"],
                            feedforward_modules=["down_proj"])  # fmt: skip
    return peft.get_peft_model(tiny.llama(), config)


def _of_transformers() -> dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]]:
    gpt_sizes = tiny.GPT_SIZES | tiny.NO_SPECIAL_TOKENS
    return {
        "GPT-2": (tiny.gpt2, LANGUAGE),
        "GPT-J": causal("GPTJ", **gpt_sizes, rotary_dim=4),
        "GPT-Neo": causal(
            "GPTNeo", hidden_size=32, num_layers=2, num_heads=4, vocab_size=64,
            attention_types=[[["global", "local"], 1]], max_position_embeddings=32,
            **tiny.NO_SPECIAL_TOKENS,
        ),
        "GPT-NeoX": (tiny.gpt_neox, LANGUAGE),
        "GPT-BigCode, one k and v": (tiny.bigcode, LANGUAGE),
        "GPT-BigCode, heads": (tiny.FAMILIES["bigcode, heads"], LANGUAGE),
        "CodeGen": (tiny.codegen, LANGUAGE),
        "CTRL": (of_transformers("CTRL", "CTRLLMHeadModel", n_embd=32, n_layer=2, n_head=4,
                                 vocab_size=64, n_positions=32, dff=48), LANGUAGE),
        "OPT": (tiny.opt, LANGUAGE),
        "XGLM": causal("XGLM", d_model=32, num_layers=2, attention_heads=4, ffn_dim=48,
                       vocab_size=64, max_position_embeddings=32),
        "BioGPT": causal("BioGpt", **SIZES),
        "Bloom": (tiny.bloom, LANGUAGE),
        "MPT": causal("Mpt", d_model=32, n_heads=4, n_layers=2, vocab_size=64, max_seq_len=32),
        "Falcon, one k and v": (tiny.falcon, LANGUAGE),
        "Falcon, groups": (tiny.FAMILIES["falcon, groups"], LANGUAGE),
        "Llama": (tiny.llama, LANGUAGE),
        "Llama 4": causal("Llama4Text", **HEADS, num_local_experts=2, intermediate_size_mlp=40,
                          interleave_moe_layer_step=1),
        "Mistral": causal("Mistral", **GROUPED),
        "Mixtral": causal("Mixtral", **GROUPED, num_local_experts=3),
        "Qwen2": causal("Qwen2", **GROUPED),
        "Qwen2-MoE": causal("Qwen2Moe", **GROUPED, num_experts=3, num_experts_per_tok=2,
                            moe_intermediate_size=16,
                            shared_expert_intermediate_size=24),
        "Qwen3": causal("Qwen3", **HEADS),
        "Gemma": causal("Gemma", **HEADS),
        "Gemma 2": causal("Gemma2", **HEADS),
        "Gemma 3": causal("Gemma3Text", **HEADS),
        "Phi": causal("Phi", **SIZES, partial_rotary_factor=0.5),
        "Phi-3": (tiny.phi3, LANGUAGE),
        "StableLM": causal("StableLm", **GROUPED),
        "OLMo 2": causal("Olmo2", **GROUPED),
        "OLMoE": causal("Olmoe", **GROUPED, num_experts=3, num_experts_per_tok=1),
        "Cohere": causal("Cohere", **GROUPED),
        "Starcoder2": causal("Starcoder2", **GROUPED),
        "Persimmon": causal("Persimmon", **SIZES),
        "Granite": causal("Granite", **GROUPED),
        "JetMoE": causal("JetMoe", **GROUPED, kv_channels=8, num_local_experts=2,
                         num_experts_per_tok=1),
        "GPT-OSS": causal("GptOss", **HEADS, num_local_experts=3, num_experts_per_tok=1),
        "DeepSeek-V2": deepseek("V2"),
        "DeepSeek-V3": deepseek("V3"),
        "Mamba": causal("Mamba", hidden_size=32, num_hidden_layers=2, vocab_size=64, state_size=4),
        "Mamba-2": causal("Mamba2", hidden_size=32, num_hidden_layers=2, vocab_size=64,
                          state_size=4, num_heads=8, head_dim=8, n_groups=2, chunk_size=4),
        "RWKV": causal("Rwkv", hidden_size=32, num_hidden_layers=2, vocab_size=64,
                       attention_hidden_size=32, intermediate_size=48),
        "RecurrentGemma": causal("RecurrentGemma", **HEADS, lru_width=32,
                                 block_types=("recurrent", "attention")),
        "BERT": (tiny.bert, LANGUAGE),
        "RoBERTa": masked("Roberta", **SIZES, **SPECIAL),
        "ALBERT": masked("Albert", **SIZES, embedding_size=16),
        "ELECTRA": masked("Electra", **SIZES, embedding_size=16),
        "DistilBERT": masked("DistilBert", dim=32, n_layers=2, n_heads=4, hidden_dim=48,
                             vocab_size=64, max_position_embeddings=32),
        "DeBERTa-v2": masked("DebertaV2", **SIZES, relative_attention=True,
                             pos_att_type=["c2p", "p2c"]),
        "ModernBERT": masked("ModernBert", **SIZES | SPECIAL, cls_token_id=1, sep_token_id=2),
        "T5": (of_transformers("T5", "T5ForConditionalGeneration", d_model=32, d_kv=8, d_ff=48,
                               num_layers=2, num_heads=4, vocab_size=64,
                               decoder_start_token_id=0), LANGUAGE),
        "BART": (of_transformers("Bart", "BartForConditionalGeneration", **BART), LANGUAGE),
        "Whisper": (whisper, inputs(2, 8, 40, name="input_features",
                                    labels=torch.randint(3, 60, (2, 6)))),
        "Wav2Vec2": (of_transformers("Wav2Vec2", "Wav2Vec2Model", **AUDIO),
                     inputs(2, 800, name="input_values")),
        "HuBERT": (of_transformers("Hubert", "HubertModel", **AUDIO),
                   inputs(2, 800, name="input_values")),
        "ViT": images("ViT", **IMAGES),
        "DeiT": images("DeiT", **IMAGES),
        "BEiT": images("Beit", **IMAGES),
        "DINOv2": images("Dinov2", **IMAGES | {"mlp_ratio": 2}),
        "Swin": (of_transformers("Swin", "SwinForImageClassification", image_size=32, patch_size=4,
                                 embed_dim=16, depths=[2, 1], num_heads=[2, 4], window_size=4),
                 inputs(2, 3, 32, 32, name="pixel_values", labels=LABELS)),
        "SegFormer": (of_transformers(
            "Segformer", "SegformerForImageClassification", num_encoder_blocks=2, depths=[1, 1],
            sr_ratios=[2, 1], hidden_sizes=[16, 32], patch_sizes=[4, 3], strides=[4, 2],
            num_attention_heads=[2, 4], mlp_ratios=[2, 2]),
            inputs(2, 3, 32, 32, name="pixel_values", labels=LABELS)),
        "ConvNeXt": (of_transformers("ConvNext", "ConvNextForImageClassification",
                                     hidden_sizes=[8, 16], depths=[1, 1], num_stages=2),
                     inputs(2, 3, 32, 32, name="pixel_values", labels=LABELS)),
        "ResNet": (of_transformers("ResNet", "ResNetForImageClassification", embedding_size=8,
                                   hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
                   inputs(2, 3, 32, 32, name="pixel_values", labels=LABELS)),
        "CLIP": (clip, lambda: {**tokens()(), **PIXELS(), "return_loss": True}),
        "SigLIP": (siglip, lambda: {**tokens()(), **PIXELS(), "return_loss": True}),
        "LLaVA": (llava, lambda: {
            "input_ids": torch.tensor([[1, 63, 63, 63, 63, 5, 6]]),
            "labels": torch.tensor([[1, 4, 4, 4, 4, 5, 6]]),
            "pixel_values": PIXELS()["pixel_values"][:1],
        }),
    }  # fmt: skip


OF_TORCH: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "MLP": (lambda: MLP([12, 16, 16, 5]), inputs(4, 12)),
    "the book's GPT-2": (lambda: gpt2("nano12", n_layer=2), LANGUAGE),
    "Linear": (lambda: nn.Linear(12, 5), inputs(4, 12)),
    "MultiheadAttention": (lambda: SelfAttention(16, 4, batch_first=True), inputs(2, 5, 16)),
    "MultiheadAttention, other widths": (
        lambda: nn.MultiheadAttention(16, 4, kdim=8, vdim=12, batch_first=True),
        lambda: {"query": torch.randn(2, 5, 16), "key": torch.randn(2, 5, 8),
                 "value": torch.randn(2, 5, 12)},
    ),
    "TransformerEncoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2,
                                      enable_nested_tensor=False),
        inputs(2, 5, 16),
    ),
    "Transformer": (lambda: EncoderDecoder(16, 4, 1, 1, 32, batch_first=True), inputs(2, 5, 16)),
    "RNN": (lambda: Recurrent(nn.RNN), lambda: LANGUAGE()["input_ids"]),
    "GRU": (lambda: Recurrent(nn.GRU), lambda: LANGUAGE()["input_ids"]),
    "LSTM": (lambda: Recurrent(nn.LSTM), lambda: LANGUAGE()["input_ids"]),
    "Conv1d and ConvTranspose1d": (
        lambda: nn.Sequential(
            nn.Conv1d(3, 8, 4, 2, 1), nn.ReLU(), nn.ConvTranspose1d(8, 3, 4, 2, 1)
        ),
        inputs(2, 3, 16),
    ),
    "Conv3d": (lambda: nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Conv3d(4, 4, 3, groups=2)),
               inputs(2, 1, 8, 8, 8)),
    "U-Net": (Unet, inputs(2, 3, 8, 8)),
    "two towers, Bilinear": (TwoTowers, inputs(4, 8)),
    "autoencoder": (Autoencoder, inputs(4, 12)),
    "mixture of experts": (MixtureOfExperts, inputs(4, 16)),
}  # fmt: skip

LIKE_TIMM: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "resnet": (resnet, inputs(2, 3, 16, 16)),
    "efficientnet": (efficientnet, inputs(2, 3, 16, 16)),
    "vgg": (vgg, inputs(2, 3, 16, 16)),
    "convnext": (convnext, inputs(2, 3, 16, 16)),
    "mixer": (Mixer, inputs(2, 3, 16, 16)),
    "vit": (TimmVit, inputs(2, 3, 16, 16)),
}

OF_PEFT: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "LoRA on Llama": (lora(tiny.llama, "q_proj", "v_proj"), LANGUAGE),
    "LoRA on GPT-2": (lora(tiny.gpt2, "c_attn", fan_in_fan_out=True), LANGUAGE),
    "LoRA with embeddings on Llama": (
        lora(tiny.llama, "q_proj", "embed_tokens", "down_proj"), LANGUAGE,
    ),
    "DoRA on Llama": (lora(tiny.llama, "q_proj", use_dora=True), LANGUAGE),
    "LoRA on a convolution": (lora(vgg, "0", "3"), inputs(2, 3, 16, 16)),
    "IA3 on Llama": (ia3, LANGUAGE),
}  # fmt: skip

ARCHITECTURES = {
    name: Architecture(source, *row)
    for source, rows in (
        ("transformers", _of_transformers()),
        ("torch.nn", OF_TORCH),
        ("like timm", LIKE_TIMM),
        ("peft", OF_PEFT),
    )
    for name, row in rows.items()
}
