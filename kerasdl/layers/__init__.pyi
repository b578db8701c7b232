from .dropping import DropPath as DropPath
from .tokens import ClassToken as ClassToken
from .tokens import PaddingMask as PaddingMask
from .tokens import PositionEmbedding as PositionEmbedding
