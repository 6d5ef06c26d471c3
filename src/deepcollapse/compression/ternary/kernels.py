"""Compiled trials: the sweep over single weights of a chain of linear maps, sample by sample.

Importing this module needs numba, so import it where it is used. A sample whose input to the weight is zero, or whose
channel stays as it was, is passed over; of the others only what moves is worked out: one channel of the weight's own
map, the channels of the next that have a weight to it, and so on to the logits.

Every loop takes a `net` and a `state`. Of stage k, with n_k samples by columns, `net` = (columns, at_x, at_z, at_w,
at_s, kinds, first, p, q, labels, squared, steps, at_codes) holds the width, where its parts begin in the flat arrays,
and its channel functions, number first[k] to first[k + 1], of the kind and with the parameters p, q of each channel.
`state` = (x, z, w, zs, s, losses, shares, codes, sums, made) holds X (rows + 1, n) and Z (columns, n) by channel,
W (rows + 1, columns), Z and its image (n, columns) by sample, then each sample's loss and its classes' shares, their
softmax, (classes, n), the codes of all weights, and sums of shares with the count at which each channel's were made.

Cross-entropy changes by log(sum of share * exp(change of logit)) less the change of the label's logit, and the
logarithms of many samples are one of their product. A change d of a channel that enters the last stage changes logits
by d w. With w from a finite set these are few factors, so shares are summed up by w: (channels, values, n).
`steps` holds the weights allowed in that stage and `at_codes` where its codes begin; without, it goes in full.
"""

import math
from typing import no_type_check

import numpy as np

from deepcollapse.compression.extras import required

numba = required("numba", "compiled trials of single weights")
compiled = numba.njit(nogil=True, cache=True, error_model="numpy")

AFFINE, RELU, LEAKY, TANH, SIGMOID, CLIP = range(6)
_FAR = 300.0  # exp of more, with a product that is at most _MUCH, would come near the largest number
_MUCH = 1e150


@compiled
@no_type_check
def _passed(value, stage, channel, kinds, first, p, q):
    """What the functions after a stage make of one number of one channel."""
    for step in range(first[stage], first[stage + 1]):
        kind, low, high = kinds[step], p[step, channel], q[step, channel]
        if kind == RELU:
            value = max(value, 0.0)
        elif kind == AFFINE:
            value = low * value + high
        elif kind == LEAKY:
            value = value if value > 0 else low * value
        elif kind == TANH:
            value = math.tanh(value)
        elif kind == SIGMOID:
            value = 1 / (1 + math.exp(-value))
        else:
            value = min(max(value, low), high)
    return value


@compiled
@no_type_check
def _loss_of(logits, label, squared):
    """The loss of one sample."""
    if squared:
        total = 0.0
        for c in range(len(logits)):
            total += (logits[c] - (c == label)) ** 2
        return total
    peak = logits.max()
    total = 0.0
    for c in range(len(logits)):
        total += math.exp(logits[c] - peak)
    return peak + math.log(total) - logits[label]


@compiled
@no_type_check
def _carried(stage, sample, channel, change, net, state, old, new):
    """The image in `new` of a sample behind `stage` when one channel that enters it changes; one that is kept if not.

    Leaves the last stage's in new[:columns].
    """
    columns, _, _, at_w, at_s, kinds, first, p, q = net[:9]
    w, zs, s = state[2], state[3], state[4]
    width, here, row = columns[stage], at_s[stage] + sample * columns[stage], at_w[stage] + channel * columns[stage]
    for c in range(width):
        new[c] = s[here + c]
        if w[row + c] != 0:
            new[c] = _passed(zs[here + c] + change * w[row + c], stage, c, kinds, first, p, q)
    for later in range(stage + 1, len(columns)):
        old[:width] = new[:width]
        below, rows, width = here, width, columns[later]
        here = at_s[later] + sample * width
        for c in range(width):
            new[c] = zs[here + c]
        for r in range(rows):
            moved = old[r] - s[below + r]
            if moved != 0:
                row = at_w[later] + r * width
                for c in range(width):
                    new[c] += moved * w[row + c]
        for c in range(width):
            new[c] = _passed(new[c], later, c, kinds, first, p, q)
    return width


@compiled
@no_type_check
def _moving(stage, row, column, delta, net, state, which, changes):
    """Writes the samples whose channel changes and by how much; returns how many, and the largest change."""
    columns, at_x, at_z, _, at_s, kinds, first, p, q, labels = net[:10]
    x, z, s = state[0], state[1], state[4]
    n, last, width = len(labels), stage == len(columns) - 1, columns[stage]
    in_x, in_z, in_s = at_x[stage] + row * n, at_z[stage] + column * n, at_s[stage] + column
    in_a = 0 if last else at_x[stage + 1] + column * n
    count, largest = 0, 0.0
    steps = first[stage + 1] - first[stage]
    relu = steps == 1 and kinds[first[stage]] == RELU
    for sample in range(n):
        value = z[in_z + sample] + delta * x[in_x + sample]
        if relu:
            value = max(value, 0.0)
        elif steps > 0:
            value = _passed(value, stage, column, kinds, first, p, q)
        change = value - (s[in_s + sample * width] if last else x[in_a + sample])
        which[count], changes[count] = sample, change
        count += change != 0  # no jump: whether a sample moves cannot be foreseen
        largest = max(largest, abs(change))
    return count, largest


@compiled
@no_type_check
def _sums(channel, net, state):
    """Where the sums over classes of one value begin, of a channel that enters the last stage; made anew if stale."""
    columns, labels, steps, at_codes = net[0], net[9], net[11], net[12]
    shares, codes, sums, made = state[6], state[7], state[8], state[9]
    n, classes = len(labels), columns[-1]
    begin, row = channel * len(steps) * n, at_codes + channel * classes
    if made[channel] != made[-1]:
        sums[begin : begin + len(steps) * n] = 0
        for c in range(classes):
            at = begin + codes[row + c] * n
            for sample in range(n):
                sums[at + sample] += shares[c, sample]
        made[channel] = made[-1]
    return begin


@compiled
@no_type_check
def _by_factors(channel, which, changes, net, state):
    """What changes of a channel that enters the last stage add to the sum of losses."""
    columns, at_w, labels, steps = net[0], net[3], net[9], net[11]
    w, sums, n = state[2], state[8], len(labels)
    begin = _sums(channel, net, state)
    row_w, total, product = at_w[-1] + channel * columns[-1], 0.0, 1.0
    mirrored = len(steps) == 3 and steps[1] == 0 and steps[0] == -steps[2]
    for at in range(len(which)):
        sample, change = which[at], changes[at]
        if mirrored:
            factor = math.exp(change * steps[2])
            ratio = sums[begin + sample] / factor + sums[begin + n + sample] + sums[begin + 2 * n + sample] * factor
        else:
            ratio = 0.0
            for value in range(len(steps)):
                ratio += sums[begin + value * n + sample] * math.exp(change * steps[value])
        total -= change * w[row_w + labels[sample]]
        product *= ratio
        if product > _MUCH or product < 1 / _MUCH:
            total += math.log(product)
            product = 1.0
    return total + math.log(product)


@compiled
@no_type_check
def _by_logit(column, which, changes, net, state):
    """What changes of one logit add to the sum of losses."""
    labels, shares, total, product = net[9], state[6], 0.0, 1.0
    for at in range(len(which)):
        sample, change = which[at], changes[at]
        ratio = shares[column, sample] * math.exp(change)
        for c in range(column):
            ratio += shares[c, sample]
        for c in range(column + 1, len(shares)):
            ratio += shares[c, sample]
        total -= change * (labels[sample] == column)
        product *= ratio
        if product > _MUCH or product < 1 / _MUCH:
            total += math.log(product)
            product = 1.0
    return total + math.log(product)


@compiled
@no_type_check
def _in_full(stage, column, which, changes, net, state, old, new):
    """What changes of a channel add to the sum of losses, each sample's logits worked out."""
    columns, at_s, labels, squared = net[0], net[4], net[9], net[10]
    s, losses, total, last = state[4], state[5], 0.0, len(columns) - 1
    for at in range(len(which)):
        sample = which[at]
        if stage == last:
            here = at_s[stage] + sample * columns[stage]
            classes = columns[stage]
            new[:classes] = s[here : here + classes]
            new[column] += changes[at]
        else:
            classes = _carried(stage + 1, sample, column, changes[at], net, state, old, new)
        total += _loss_of(new[:classes], labels[sample], squared) - losses[sample]
    return total


@compiled
@no_type_check
def _trial(stage, row, column, delta, loss, net, state, work):
    """The mean loss with one weight changed by `delta`."""
    last, squared, steps, n = len(net[0]) - 1, net[10], net[11], len(net[9])
    which, changes, old, new = work
    count, largest = _moving(stage, row, column, delta, net, state, which, changes)
    if count == 0:
        return loss
    which, changes = which[:count], changes[:count]
    if stage == last and not squared and largest < _FAR:
        return loss + _by_logit(column, which, changes, net, state) / n
    if stage == last - 1 and len(steps) and largest * max(abs(steps[0]), abs(steps[-1])) < _FAR / 2:
        return loss + _by_factors(column, which, changes, net, state) / n
    return loss + _in_full(stage, column, which, changes, net, state, old, new) / n


@compiled
@no_type_check
def _weigh(sample, net, state):
    """Keeps the loss of a sample and the shares of its classes."""
    columns, at_s, labels, squared = net[0], net[4], net[9], net[10]
    s, losses, shares = state[4], state[5], state[6]
    classes, label = columns[-1], labels[sample]
    here = at_s[-1] + sample * classes
    logits = s[here : here + classes]
    peak, total = logits.max(), 0.0
    for c in range(classes):
        shares[c, sample] = math.exp(logits[c] - peak)
        total += shares[c, sample]
    for c in range(classes):
        shares[c, sample] /= total
    losses[sample] = _loss_of(logits, label, True) if squared else peak + math.log(total) - logits[label]


@compiled
@no_type_check
def weigh_all(net, state):
    """Keeps them for all samples; returns the mean loss."""
    for sample in range(len(state[5])):
        _weigh(sample, net, state)
    state[9][-1] += 1
    return state[5].mean()


@compiled
@no_type_check
def _settle(stage, net, state, sample):
    """Z of a stage by sample is right: makes what follows from it, by channel and for the next stage's X."""
    columns, at_x, at_z, _, at_s, kinds, first, p, q, labels = net[:10]
    x, z, _, zs, s = state[0], state[1], state[2], state[3], state[4]
    n, width = len(labels), columns[stage]
    here = at_s[stage] + sample * width
    for c in range(width):
        z[at_z[stage] + c * n + sample] = zs[here + c]
        s[here + c] = _passed(zs[here + c], stage, c, kinds, first, p, q)
        if stage + 1 < len(columns):
            x[at_x[stage + 1] + c * n + sample] = s[here + c]


@compiled
@no_type_check
def _follow(stage, sample, channel, change, net, state, old):
    """Carries the change of one channel that enters a stage to a sample's logits."""
    columns, at_w, at_s = net[0], net[3], net[4]
    w, zs, s = state[2], state[3], state[4]
    here, width = at_s[stage] + sample * columns[stage], columns[stage]
    old[:width] = s[here : here + width]
    for c in range(width):
        zs[here + c] += change * w[at_w[stage] + channel * width + c]
    _settle(stage, net, state, sample)
    for later in range(stage + 1, len(columns)):
        there = at_s[later] + sample * columns[later]
        for r in range(width):
            moved = s[here + r] - old[r]
            if moved != 0:
                for c in range(columns[later]):
                    zs[there + c] += moved * w[at_w[later] + r * columns[later] + c]
        here, width = there, columns[later]
        old[:width] = s[here : here + width]
        _settle(later, net, state, sample)


@compiled
@no_type_check
def move(stage, row, column, weight, net, state, old):
    """Changes one weight and all that is kept behind it; returns the mean loss."""
    columns, at_x, at_z, at_w, at_s, kinds, first, p, q, labels = net[:10]
    x, z, w, zs, s, losses = state[:6]
    n, last, width = len(labels), len(columns) - 1, columns[stage]
    place = at_w[stage] + row * width + column
    delta, w[place] = weight - w[place], weight
    for sample in range(n):
        entering = x[at_x[stage] + row * n + sample]
        if entering == 0:
            continue
        here = at_s[stage] + sample * width + column
        zs[here] += delta * entering
        z[at_z[stage] + column * n + sample] = zs[here]
        value = _passed(zs[here], stage, column, kinds, first, p, q)
        change = value - s[here]
        if change == 0:
            continue
        s[here] = value
        if stage < last:
            x[at_x[stage + 1] + column * n + sample] = value
            _follow(stage + 1, sample, column, change, net, state, old)
        _weigh(sample, net, state)
    state[9][-1] += 1  # sums are stale
    return losses.mean()


@compiled
@no_type_check
def _work(net, values):
    """Room for a trial: samples, changes, and twice the numbers of one sample."""
    n, widest = len(net[9]), net[0].max()
    return np.empty(n, np.int64), np.empty(n), np.empty(max(widest, values, 3)), np.empty(widest)


@compiled
@no_type_check
def sweep(places, codes, values, scales, loss, net, state, moves, after, tolerance, least):
    """Tries the weights at `places` (weights, 4: coordinate, stage, row, column) in turn and moves those that it pays.

    Writes place and value of each move, and the loss after it; returns how many there are, and the loss.
    """
    work = _work(net, len(values))
    count = 0
    for at in range(len(places)):
        coordinate, stage, row, column = places[at]
        code = codes[coordinate]
        present, best, choice = scales[stage] * values[code], loss, code
        for value in range(len(values)):
            if value != code:
                found = _trial(stage, row, column, scales[stage] * values[value] - present, loss, net, state, work)
                if found < best - max(tolerance * max(1.0, abs(loss)), least):
                    best, choice = found, value
        if choice != code:
            codes[coordinate], before = choice, loss
            loss = move(stage, row, column, scales[stage] * values[choice], net, state, work[2])
            if loss < before:
                moves[count, 0], moves[count, 1], after[count] = coordinate, choice, loss
                count += 1
            else:  # the trial was mistaken by rounding
                codes[coordinate] = code
                loss = move(stage, row, column, present, net, state, work[2])
    return count, loss


@compiled
@no_type_check
def losses_at(places, codes, values, scales, loss, net, state, found):
    """Writes the loss with each weight at each value and all else as it is."""
    work = _work(net, len(values))
    for at in range(len(places)):
        coordinate, stage, row, column = places[at]
        present = scales[stage] * values[codes[coordinate]]
        for value in range(len(values)):
            delta = scales[stage] * values[value] - present
            found[at, value] = _trial(stage, row, column, delta, loss, net, state, work)
