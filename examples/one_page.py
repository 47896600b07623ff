"""A learned learning rule on one page of plain PyTorch, from one neuron's view to one step of meta-training.

A base model phi = [(W, b, V), ..] looks at images without labels. A rule with meta-parameters theta changes phi step by
step: every neuron carries the same small network, which sees only that neuron's activity, weights, a signal from above
and a little of its layer, and whose hidden state h says how its weights should change (inner loop). A few labels and
ridge regression measure how good phi has become; theta follows the gradient of that through all steps (outer loop).

After Metz et al., ICLR 2019; equal to `metarules.LocalRule` with its default settings within 1e-10
(tests/test_one_page.py). Shapes: B examples, n_l neurons in layer l = 0 .. L; i is a lower neuron, j an upper one.
"""

import torch
from torch import Tensor

Phi = list[tuple[Tensor, Tensor, Tensor]]  # for each layer W [n_{l-1}, n_l], b [n_l], V [n_{l-1}, n_l]
Theta = dict[str, Tensor]
Seen = dict[str, Tensor]  # what the neurons of a layer see
C, D, G = 16, 4, 2  # width of h, of the signals sent down, of each low-rank read-out
START = [0.05, 0.05, 0.9, 0.8, *8 * [0.05], 0.3]  # a new theta's coefficients, in the order in which `terms` has them
# Read-outs of h, G numbers each, in the order of theta's columns: of an upper and of a lower neuron. Two of them make a
# low-rank matrix: (0, 0) of both sides that of "0_order", (lin, lin2) of one side that of "lin_upper_symm", and so on.
UPPER, LOWER = ("0", "1", "rbf", "lin", "psd", "sqr", "lin2", "sqr2"), ("0", "1", "rbf", "lin", "sqr", "lin2", "sqr2")


def rms(a: Tensor, dim: int, eps: float = 1e-6) -> Tensor:
    return (a.square().mean(dim, keepdim=True) + eps).sqrt()


def standardise(a: Tensor) -> Tensor:  # over the batch
    a = a - a.mean(0)
    return a / rms(a, 0)


def forward(phi: Phi, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Layers of batch norm and relu: z^l = BN(x^{l-1} W^l) + b^l, x^l = relu(z^l)."""
    xs, zs = [x], [x]  # [B, n_l] each
    for W, b, _ in phi:
        zs.append(standardise(xs[-1] @ W) + b)
        xs.append(torch.relu(zs[-1]))
    return xs, zs


def new_phi(sizes: list[int], std: float = 0.01) -> Phi:
    layers = zip(sizes[:-1], sizes[1:], strict=True)
    return [(std * torch.randn(i, j), torch.zeros(j), std * torch.randn(i, j)) for i, j in layers]


def new_theta(g: torch.Generator) -> Theta:
    def draw(c_in: int, c_out: int, fan: int = 0) -> Tensor:  # normal, cut at two sigma, sigma = 1 / sqrt(fan)
        return torch.nn.init.trunc_normal_(torch.empty(c_in, c_out), 0, 1, -2, 2, generator=g) / (fan or c_in) ** 0.5

    z, seen = torch.zeros, 5 + D + 11  # numbers that a neuron sees: of each example, from above, and of itself
    theta = {
        "network.from_example": draw(5 + D, C, seen), "network.from_neuron": draw(11, C, seen), "network.bias_1": z(C),
        "network.from_hidden": draw(C, C, 2 * C), "network.from_mean": draw(C, C, 2 * C), "network.bias_2": z(C),
        "top.from_example": draw(5, C), "top.bias_1": z(C), "top.from_hidden": draw(C, D, 3 * C),
        "top.from_mean": draw(C, D, 3 * C), "top.from_layer": draw(C, D, 3 * C), "top.bias_2": z(D),
        "delta_readout": draw(C, D), "bias_readout": z(C, 1), "bias_offset": torch.tensor(-0.3),
        "forward_readout.upper": draw(C, len(UPPER) * G), "forward_readout.upper_bias": z(len(UPPER) * G),
        "forward_readout.lower": draw(C, len(LOWER) * G), "forward_readout.lower_bias": z(len(LOWER) * G),
        "forward_readout.coefficients": torch.tensor(START), "forward_readout.gates": z(C, len(START)),
        "log_temperature": torch.tensor(0.3).log(), "log_lr": torch.tensor(0.0),
    }  # fmt: skip
    return {name: value.requires_grad_() for name, value in theta.items()}


def part(theta: Theta, of: str) -> Theta:
    return {name.removeprefix(of): value for name, value in theta.items() if name.startswith(of)}


def weight_stats(phi: Phi, l: int) -> Tensor:
    """Size, spread and mean of each neuron's incoming and outgoing weights [n_l, 8]; an edge layer repeats its four."""
    sides = [phi[l - 1][0].T] if l > 0 else []
    sides += [phi[l][0]] if l < len(phi) else []
    std = [(w.var(1, correction=0) + 1e-8).sqrt() for w in sides]
    four = [torch.stack([w.abs().mean(1), rms(w, 1)[:, 0], w.mean(1), s], -1) for w, s in zip(sides, std, strict=True)]
    stats = torch.cat([four[0], four[-1]], -1)
    return stats / (stats.square().mean() + 1e-6).sqrt()


def what_neurons_see(theta: Theta, phi: Phi, x: Tensor, z: Tensor, l: int) -> Seen:
    s = standardise(x)  # [B, n]
    share = torch.softmax(z / theta["log_temperature"].exp(), 1)  # how far a neuron wins over its layer [B, n]
    bias = phi[l - 1][1] if l else torch.zeros_like(x[0])
    if l == 0:
        z, share = s, torch.zeros_like(s)  # inputs do not compete
    layer = s.mean(1, keepdim=True).expand_as(s), rms(s, 1).expand_as(s)
    own = torch.stack([x.mean(0) / rms(x, 0)[0], s.abs().mean(0)], -1)  # [n, 2]
    example = torch.stack([s, z, standardise(share), *layer], -1)  # [B, n, 5]
    neuron = torch.cat([own, weight_stats(phi, l), bias[:, None]], -1)  # [n, 11]
    return {"s": s, "share": share, "z": z, "example": example, "neuron": neuron}


def network(theta: Theta, example: Tensor, neuron: Tensor) -> Tensor:
    """The small network on every neuron: h [B, n, C] from what the neuron sees of each example, and of itself."""
    t = part(theta, "network.")
    first = torch.relu(example @ t["from_example"] + neuron @ t["from_neuron"] + t["bias_1"])
    return first + torch.relu(first @ t["from_hidden"] + first.mean(0) @ t["from_mean"] + t["bias_2"])


def top_signal(theta: Theta, example: Tensor) -> Tensor:
    """d^L [B, n, D], which starts the way down: what the top layer tells itself."""
    t = part(theta, "top.")
    a = torch.relu(example @ t["from_example"] + t["bias_1"])
    d = a @ t["from_hidden"] + a.mean(0) @ t["from_mean"] + a.mean(1, keepdim=True) @ t["from_layer"] + t["bias_2"]
    return d / rms(d, -1)


def terms(theta: Theta, W: Tensor, lower: Seen, upper: Seen, h_low: Tensor, h_up: Tensor) -> dict[str, Tensor]:
    """What a weight can compute from the two neurons it joins, [i, j] each; the step subtracts their mix."""
    s_low, s_up, share = lower["s"], upper["s"], upper["share"]
    B, n = s_up.shape
    t = part(theta, "forward_readout.")
    up = dict(zip(UPPER, (h_up @ t["upper"] + t["upper_bias"]).split(G, -1), strict=True))  # [B, j, G] each
    low = dict(zip(LOWER, (h_low @ t["lower"] + t["lower_bias"]).split(G, -1), strict=True))  # [B, i, G] each

    def R(bottom: Tensor, top: Tensor) -> Tensor:  # a low-rank matrix of two read-outs of h
        return torch.einsum("big,bjg->ij", bottom, top) / (B * G)

    def M(bottom: Tensor, top: Tensor) -> Tensor:  # a symmetric one without its diagonal
        m = R(bottom, top) + R(top, bottom)
        return (m - torch.diag(m.diagonal())) / (2 * len(m)) ** 0.5

    w = W / rms(W, 0)
    sign, large = w.sign(), (1 + w.square()).sqrt() - 1
    q = w @ (s_up.T @ s_up) / (B * n**0.5)
    return {
        "0_order": R(low["0"], up["0"]),
        "1_order": w * R(low["1"], up["1"]),
        "decorr_x": q / (q.square().mean() + 1e-8).sqrt(),
        "hebb": -s_low.T @ s_up / B,
        "large_decay": w.square() * sign,
        "lin_lower_symm": M(low["lin"], low["lin2"]) @ w,
        "lin_upper_psd": w @ R(up["psd"], up["psd"]) / n**0.5,
        "lin_upper_symm": w @ M(up["lin2"], up["lin"]),
        "rbf": torch.exp(-w.square()) * R(low["rbf"], up["rbf"]),
        "sqr_lower_symm": sign * (M(low["sqr"], low["sqr2"]) @ large),
        "sqr_upper_symm": sign * (large @ M(up["sqr2"], up["sqr"])),
        "w_base": w,
        "soft": -s_low.T @ share / B,
    }


def mix(theta: Theta, T: dict[str, Tensor], h_mean: Tensor) -> Tensor:
    """change_W [i, j]: terms brought to one size, weighed, gated by the upper neuron, added up, and bounded."""
    gates = 1 + torch.tanh(h_mean @ theta["forward_readout.gates"])  # [j, 13]
    a = theta["forward_readout.coefficients"]
    change = torch.stack([a[k] * gates[:, k] * t / rms(t, 0, 1e-3) for k, t in enumerate(T.values())]).sum(0)
    return change / (1 + change.square().mean(0) / 4).sqrt()


def step(theta: Theta, phi: Phi, x: Tensor) -> Phi:
    """One inner step: forward, signals from the top down through V, then every weight from the neurons at its ends."""
    xs, zs = forward(phi, x)
    see = [what_neurons_see(theta, phi, a, z, l) for l, (a, z) in enumerate(zip(xs, zs, strict=True))]
    d, h = top_signal(theta, see[-1]["example"]), {}
    for l in range(len(phi), -1, -1):
        h[l] = network(theta, torch.cat([see[l]["example"], d], -1), see[l]["neuron"])  # [B, n_l, C]
        if l:
            delta = d * torch.sigmoid(see[l]["z"])[..., None] + h[l] @ theta["delta_readout"]  # [B, n_l, D]
            e = phi[l - 1][2] @ delta  # [B, n_{l-1}, D]
            d = e / rms(e, -1)
    lr = 0.03 * torch.exp(torch.tanh(theta["log_lr"]))
    new: Phi = []
    for l, (W, b, V) in enumerate(phi, start=1):
        T = terms(theta, W, see[l - 1], see[l], h[l - 1], h[l])
        change_W = mix(theta, T, h[l].mean(0))
        r = (h[l].mean(0) @ theta["bias_readout"])[:, 0] + theta["bias_offset"]
        change_b = r / (0.5 + r.square().mean()).sqrt()
        W, b, V = (p * (1 - lr) - lr * change for p, change in ((W, change_W), (b, change_b), (V, change_W)))
        new.append((W, b, V))
    return new


def learn(theta: Theta, phi: Phi, batches: Tensor) -> Phi:
    """The inner loop: batches [T, B, n_0] without labels, one step each."""
    for x in batches:
        phi = step(theta, phi, x)
    return phi


def ridge(features: Tensor, y: Tensor, penalty: float) -> Tensor:
    """Weights [f + 1, k] of a linear read-out, the bias in the last row and free."""
    A = torch.cat([features, torch.ones_like(features[:, :1])], 1)
    free = torch.cat([torch.full_like(A[0, :-1], penalty), torch.zeros_like(A[0, :1])])
    return torch.linalg.solve(A.T @ A + torch.diag(free), A.T @ y)


def meta_objective(phi: Phi, x: Tensor, labels: Tensor, penalty: float = 0.1) -> Tensor:
    """Cosine distance on the second half of some labelled examples of a read-out fitted on the first."""
    f_a, f_b = forward(phi, x)[0][-1].chunk(2)
    y_a, y_b = (y - y.mean() for y in torch.nn.functional.one_hot(labels).to(x.dtype).chunk(2))
    y_a, y_b = (y / y.square().sum(1).mean().sqrt() for y in (y_a, y_b))
    w = ridge(f_a, y_a, penalty)
    p = f_b @ w[:-1] + w[-1]
    p = p / p.norm(dim=1, keepdim=True)
    return (p - y_b).square().sum(1).mean() + penalty * w[:-1].square().sum() / len(f_a)


def meta_step(theta: Theta, adam: torch.optim.Optimizer, phi: Phi, batches: Tensor, x: Tensor, labels: Tensor) -> float:
    """One step of theta along the gradient of the meta-objective through a whole inner loop."""
    loss = meta_objective(learn(theta, phi, batches), x, labels)
    adam.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(theta.values(), 0.1)
    adam.step()
    return float(loss.detach())


def main() -> None:
    from sklearn.datasets import load_digits

    from metarules import load_rule  # for the shipped theta alone

    torch.manual_seed(0)
    x, labels = (torch.tensor(a) for a in load_digits(return_X_y=True))
    x, y, phi = x.float() / 16, torch.nn.functional.one_hot(labels).float(), new_phi([64, 32, 32, 32])
    theta = {name: p.detach() for name, p in load_rule("local").named_parameters()}
    taught = learn(theta, phi, x[torch.randint(len(x), (100, 200))])
    for words, model in (("random base model", phi), ("after 100 steps of the shipped rule, no label seen", taught)):
        features, accuracy = standardise(forward(model, x)[0][-1]), 0.0
        for order in torch.stack([torch.randperm(len(x)) for _ in range(10)]):  # mean over ten draws of the labelled
            few = torch.cat([order[labels[order] == k][:10] for k in range(10)])
            w = ridge(features[few], y[few], 3.0)
            right = (features @ w[:-1] + w[-1]).argmax(1) == labels
            accuracy += float(right.sum() - right[few].sum()) / (len(x) - 100) / 10
        print(f"digits read with ten labels each, {words}: {accuracy:.3f}")

    print(
        "a new theta learns to learn ten noisy blobs, every tenth meta-loss (noisy, since each is of new blobs):",
        end="",
    )
    theta = new_theta(torch.Generator().manual_seed(0))
    adam = torch.optim.Adam(theta.values(), lr=3e-3)
    for number in range(51):
        centres, kinds = torch.randn(10, 20), torch.arange(200) % 10
        batches = centres[torch.randint(10, (4, 100))] + 1.5 * torch.randn(4, 100, 20)
        labelled = centres[kinds] + 1.5 * torch.randn(200, 20)
        loss = meta_step(theta, adam, new_phi([20, 16, 16]), batches, labelled, kinds)
        if number % 10 == 0:
            print(f" {loss:.3f}", end="", flush=True)
    print()


if __name__ == "__main__":
    main()
