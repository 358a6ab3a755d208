"""TensorFlow functions that a file's TFOpLambda layers may call: those that only compute.

A TFOpLambda names any public function of TensorFlow, and there are ones that read and write files
(``io.write_file``), load libraries (``load_library``), call Python or change the process's state.
"""

from __future__ import annotations

# Modules of which every function only computes.
_ROOMS = frozenset({"math", "nn", "linalg", "image", "signal", "bitwise", "__operators__"})
_TOP_LEVEL = (
    "abs add argmax argmin argsort atan boolean_mask broadcast_to cast clip_by_norm clip_by_value "
    "concat convert_to_tensor cos cumsum divide einsum ensure_shape equal exp expand_dims eye fill "
    "floor gather gather_nd greater greater_equal identity less less_equal linspace log "
    "logical_and logical_not logical_or matmul maximum meshgrid minimum multiply negative norm "
    "not_equal one_hot ones ones_like pad pow range rank realdiv reduce_max reduce_mean "
    "reduce_min reduce_prod reduce_sum repeat reshape reverse roll round rsqrt scatter_nd shape "
    "sigmoid sign sin size slice softmax sort split sqrt square squeeze stack stop_gradient "
    "strided_slice subtract tanh tensordot tile transpose truediv unstack where zeros zeros_like"
)
_RANDOM = (
    "categorical gamma normal poisson shuffle stateless_categorical stateless_gamma "
    "stateless_normal stateless_truncated_normal stateless_uniform truncated_normal uniform"
)
_BACKEND = (
    "abs all any arange argmax argmin batch_dot batch_flatten batch_normalization bias_add "
    "binary_crossentropy cast cast_to_floatx categorical_crossentropy clip concatenate constant "
    "conv1d conv2d conv2d_transpose cos cumprod cumsum dot elu epsilon equal exp expand_dims eye "
    "flatten gather greater greater_equal hard_sigmoid int_shape l2_normalize less less_equal log "
    "max maximum mean min minimum ndim not_equal one_hot ones ones_like permute_dimensions pow "
    "prod random_bernoulli random_binomial random_normal random_uniform relu repeat "
    "repeat_elements reshape reverse round shape sigmoid sign sin softmax softplus softsign "
    "sparse_categorical_crossentropy sqrt square squeeze stack std stop_gradient sum tanh tile "
    "transpose truncated_normal var zeros zeros_like"
)
_ACTIVATIONS = (
    "elu exponential gelu hard_sigmoid leaky_relu linear mish relu selu sigmoid softmax softplus "
    "softsign swish tanh"
)
# Of VAEs whose loss was added to the model with add_loss.
_LOSSES = (
    "binary_crossentropy categorical_crossentropy cosine_similarity huber kl_divergence log_cosh "
    "mean_absolute_error mean_absolute_percentage_error mean_squared_error "
    "mean_squared_logarithmic_error poisson sparse_categorical_crossentropy"
)
_FUNCTIONS = {
    "": frozenset(_TOP_LEVEL.split()),
    "random": frozenset(_RANDOM.split()),
    "keras.backend": frozenset(_BACKEND.split()),
    "keras.activations": frozenset(_ACTIVATIONS.split()),
    "keras.losses": frozenset(_LOSSES.split()),
    "keras.metrics": frozenset(_LOSSES.split()),
}


def is_harmless(function: object) -> bool:
    """Whether a function, named as ``math.sigmoid``, computes and does nothing else."""
    if not isinstance(function, str):
        return False
    room, _, name = function.removeprefix("compat.v1.").rpartition(".")
    return room in _ROOMS or name in _FUNCTIONS.get(room, ())
