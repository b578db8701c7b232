from .darknet import darknet_features as darknet_features
from .mix_transformer import mix_transformer_features as mix_transformer_features
from .mobilenet_v2 import mobilenet_v2_features as mobilenet_v2_features
from .mobilenet_v3 import mobilenet_v3_features as mobilenet_v3_features
from .resnet import resnet_features as resnet_features
from .vit import vit_features as vit_features
