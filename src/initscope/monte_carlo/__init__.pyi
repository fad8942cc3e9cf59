from .comparison import against_theory
from .correlations import correlation_profiles
from .draws import CHUNK_BYTES, DIRECTIONS
from .jacobian import LayerJacobian, jacobian_spectra, layer_jacobians
from .number_formats import TORCH_FORMATS, representable_band
from .residual_stream import draw_narrow_models, stream_gradients, stream_profile, weight_gradients
from .variances import residual_profiles, variance_profiles

__all__ = [
    "CHUNK_BYTES",
    "DIRECTIONS",
    "TORCH_FORMATS",
    "LayerJacobian",
    "against_theory",
    "correlation_profiles",
    "draw_narrow_models",
    "jacobian_spectra",
    "layer_jacobians",
    "representable_band",
    "residual_profiles",
    "stream_gradients",
    "stream_profile",
    "variance_profiles",
    "weight_gradients",
]
