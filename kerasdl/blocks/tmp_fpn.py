from keras import layers


def fpn(maps, channels, *, extra_levels=0, extra="convolution", name="fpn"):
    names = sorted(maps, key=lambda n: int(n[6:]))
    lat = {n: layers.Conv2D(channels, 1, name=f"{name}_{n}_lateral")(maps[n]) for n in names}
    out = {}
    x = None
    for n in reversed(names):
        if x is not None:
            up = layers.UpSampling2D(2, name=f"{name}_{n}_up")(x)
            x = layers.Add(name=f"{name}_{n}_add")([lat[n], up])
        else:
            x = lat[n]
        out[n] = layers.Conv2D(channels, 3, padding="same", name=f"{name}_{n}_conv")(x)
    out = {n: out[n] for n in names}
    s = int(names[-1][6:])
    x = out[names[-1]]
    for i in range(extra_levels):
        s *= 2
        if i:
            x = layers.ReLU(name=f"{name}_stride{s}_relu")(x)
        x = layers.Conv2D(channels, 3, strides=2, padding="same", name=f"{name}_stride{s}_conv")(x)
        out[f"stride{s}"] = x
    return out
