from .trainer import PanopticFPN as PanopticFPN
