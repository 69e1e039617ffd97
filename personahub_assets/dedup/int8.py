"""Dot products of 8-bit vectors, many at once: one instruction per 64 numbers on CPUs with AVX512-VNNI."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 64
"""Quantised rows of a tile; they are compared together."""

CHUNK = 64
"""The length of a quantised row is a multiple of this."""

_REGISTER = ir.VectorType(ir.IntType(32), 16)
_REGISTERS = LANES // 16


def _in_all(builder: Any, value: Any) -> Any:
    first = builder.insert_element(ir.Constant(_REGISTER, ir.Undefined), value, ir.IntType(32)(0))
    return builder.shuffle_vector(first, first, ir.Constant(_REGISTER, [0] * 16))


def _add_products(context: Any, builder: Any, total: Any, codes: Any, query: Any) -> Any:
    """In each of 16 lanes add four products of unsigned and signed 8-bit numbers: one instruction with AVX512-VNNI."""
    if "+avx512vnni" in str(context.codegen().magic_tuple()):
        kind = ir.FunctionType(_REGISTER, [_REGISTER] * 3)
        vpdpbusd = builder.module.declare_intrinsic("llvm.x86.avx512.vpdpbusd.512", (), kind)
        return builder.call(vpdpbusd, [total, codes, query])
    for shift in range(0, 32, 8):
        up, down, top, byte = (ir.Constant(_REGISTER, [number] * 16) for number in (24 - shift, shift, 24, 255))
        unsigned = builder.and_(builder.lshr(codes, down), byte)
        signed = builder.ashr(builder.shl(query, up), top)
        total = builder.add(total, builder.mul(unsigned, signed))
    return total


@intrinsic
def reaching(typing, tiles, extra, tile, queries, query, cut):  # noqa: ARG001
    """Bit mask of the 64 rows of a tile: set if the product with a query plus an extra is at least the cut.

    tiles: uint8 (tiles, width / 4, 64, 4), codes + 128; extra: int32 (64 tiles,); queries: int8 (n, width).
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        def pointer(array: int, kind: Any, first: Any) -> Any:
            data = context.make_array(signature.args[array])(context, builder, value=values[array]).data
            return builder.gep(builder.bitcast(data, kind.as_pointer()), [first])

        def times(value: Any, factor: int) -> Any:
            return builder.mul(value, value.type(factor))

        def plus(value: Any, addend: int) -> Any:
            return builder.add(value, value.type(addend))

        shelf = context.make_array(signature.args[0])(context, builder, value=values[0])
        groups = builder.extract_value(shelf.shape, 1)  # of four numbers
        tile_at = pointer(0, _REGISTER, builder.mul(values[2], times(groups, _REGISTERS)))
        extra_at = pointer(1, _REGISTER, times(values[2], _REGISTERS))
        query_at = pointer(3, ir.IntType(32), builder.mul(values[4], groups))
        totals = [cgutils.alloca_once(builder, _REGISTER) for _ in range(_REGISTERS)]
        for register, total in enumerate(totals):
            builder.store(builder.load(builder.gep(extra_at, [groups.type(register)]), align=4), total)
        with cgutils.for_range(builder, builder.udiv(groups, groups.type(CHUNK // 4))) as loop:
            sums = [builder.load(total) for total in totals]
            for step in range(CHUNK // 4):
                group = plus(times(loop.index, CHUNK // 4), step)
                number = _in_all(builder, builder.load(builder.gep(query_at, [group]), align=1))
                for register in range(_REGISTERS):
                    codes = builder.load(builder.gep(tile_at, [plus(times(group, _REGISTERS), register)]), align=4)
                    sums[register] = _add_products(context, builder, sums[register], codes, number)
            for total, register_sum in zip(totals, sums, strict=True):
                builder.store(register_sum, total)
        cut = _in_all(builder, values[5])
        near = ir.Constant(ir.IntType(64), 0)
        for register, total in enumerate(totals):
            reached = builder.bitcast(builder.icmp_signed(">=", builder.load(total), cut), ir.IntType(16))
            near = builder.or_(near, builder.shl(builder.zext(reached, near.type), near.type(16 * register)))
        return near

    return types.uint64(tiles, extra, types.intp, queries, types.intp, types.int32), generate
