"""How kernels read and write memory: single numbers, and four of them in accesses of 16 bytes.

For `numba-cuda` these are intrinsics: its own indexing wraps negative indices around, two instructions in every access,
has no vectors, and calls a C++ library for float16, which needs a driver to link. What other compilers, and the
simulator, execute means the same.
"""

from numba_tconv.backends.cuda.compiler import PACKAGE, SIMULATED, inlined, types

if SIMULATED or PACKAGE != "numba":

    @inlined
    def load(array, at):
        """Return array[at]."""
        return array[types.uint64(at)]

    @inlined
    def load4(array, at):
        """Return four numbers from array[at] on, which lies at a multiple of 16 bytes."""
        return (
            array[types.uint64(at)],
            array[types.uint64(at + 1)],
            array[types.uint64(at + 2)],
            array[types.uint64(at + 3)],
        )

    @inlined
    def store(array, at, value):
        """Write array[at]."""
        array[types.uint64(at)] = value

    @inlined
    def store4(array, at, a, b, c, d):
        """Write four numbers from array[at] on, which lies at a multiple of 16 bytes."""
        array[types.uint64(at)] = a
        array[types.uint64(at + 1)] = b
        array[types.uint64(at + 2)] = c
        array[types.uint64(at + 3)] = d

else:
    from llvmlite import ir
    from numba.cuda.extending import intrinsic

    LANES = 4
    ONE, HALF = ir.IntType(32)(1), types.float16

    def _element(dtype):
        """Return LLVM's type of a number in memory; Numba's own for float16 is an integer."""
        return {types.float16: ir.HalfType(), types.float32: ir.FloatType(), types.float64: ir.DoubleType()}[dtype]

    def _pointer(context, builder, array_type, place, lanes):
        """Return the address of `place`, an array and an index in it, and the type of a number there."""
        array, at = place
        data = context.make_array(array_type)(context, builder, array).data
        element = _element(array_type.dtype)
        pointer = builder.gep(builder.bitcast(data, element.as_pointer()), [at], inbounds=True)
        target = element if lanes == 1 else ir.VectorType(element, lanes)
        return builder.bitcast(pointer, target.as_pointer()), element

    def _computed(dtype):
        """Return the type that numbers in memory are computed in."""
        return types.float32 if dtype == HALF else dtype

    def _width(dtype):
        return min(16, LANES * dtype.bitwidth // 8)

    @intrinsic
    def load(typing, array, at):
        """Return array[at]; float16 as float32."""
        signature = _computed(array.dtype)(array, types.int64)

        def codegen(context, builder, signature, arguments):
            pointer, element = _pointer(context, builder, signature.args[0], arguments, lanes=1)
            value = builder.load(pointer)
            return builder.fpext(value, ir.FloatType()) if isinstance(element, ir.HalfType) else value

        return signature, codegen

    @intrinsic
    def load4(typing, array, at):
        """Return four numbers from array[at] on, which lies at a multiple of 16 bytes; float16 at one of 8."""
        signature = types.UniTuple(_computed(array.dtype), LANES)(array, types.int64)

        def codegen(context, builder, signature, arguments):
            pointer, element = _pointer(context, builder, signature.args[0], arguments, lanes=LANES)
            vector = builder.load(pointer)
            vector.align = _width(signature.args[0].dtype)
            values = [builder.extract_element(vector, ir.IntType(32)(lane)) for lane in range(LANES)]
            if isinstance(element, ir.HalfType):
                values = [builder.fpext(value, ir.FloatType()) for value in values]
            return context.make_tuple(builder, signature.return_type, values)

        return signature, codegen

    @intrinsic
    def store(typing, array, at, value):
        """Write array[at]; to float16 with one rounding."""
        signature = types.void(array, types.int64, _computed(array.dtype))

        def codegen(context, builder, signature, arguments):
            place, value = arguments[:2], arguments[2]
            pointer, element = _pointer(context, builder, signature.args[0], place, lanes=1)
            builder.store(builder.fptrunc(value, element) if isinstance(element, ir.HalfType) else value, pointer)
            return context.get_dummy_value()

        return signature, codegen

    @intrinsic
    def store4(typing, array, at, a, b, c, d):
        """Write four numbers from array[at] on, which lies at a multiple of 16 bytes; float16 at one of 8."""
        signature = types.void(array, types.int64, *[_computed(array.dtype)] * LANES)

        def codegen(context, builder, signature, arguments):
            place, values = arguments[:2], arguments[2:]
            pointer, element = _pointer(context, builder, signature.args[0], place, LANES)
            vector = ir.Constant(ir.VectorType(element, LANES), ir.Undefined)
            for lane, value in enumerate(values):
                if isinstance(element, ir.HalfType):
                    value = builder.fptrunc(value, element)
                vector = builder.insert_element(vector, value, ir.IntType(32)(lane))
            builder.store(vector, pointer).align = _width(signature.args[0].dtype)
            return context.get_dummy_value()

        return signature, codegen
