"""How kernels read and write memory: single numbers, and four of them, or a pair of integers, in one access.

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
    def load_byte(array, at):
        """Return the number at a place counted in bytes."""
        return array[types.uint64(at // array.itemsize)]

    @inlined
    def load2(array, at):
        """Return two integers from array[at] on, which lies at a multiple of 16 bytes."""
        return array[types.uint64(at)], array[types.uint64(at + 1)]

    @inlined
    def store(array, at, value):
        """Write array[at]."""
        array[types.uint64(at)] = value

    @inlined
    def store2(array, at, a, b):
        """Write two integers from array[at] on, which lies at a multiple of 16 bytes."""
        array[types.uint64(at)] = a
        array[types.uint64(at + 1)] = b

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

    HALF = types.float16

    def access(function):
        """Return an intrinsic with a name that lasts: with a random one, Numba's disk cache would find no kernel."""
        made = intrinsic(function)
        made._set_uuid(f"{__name__}.{function.__name__}")
        return made

    def _element(dtype):
        """Return LLVM's type of a number in memory; Numba's own for float16 is an integer."""
        return {
            types.float16: ir.HalfType(), types.float32: ir.FloatType(), types.float64: ir.DoubleType(),
            types.int64: ir.IntType(64),
        }[dtype]  # fmt: skip

    def _computed(dtype):
        """Return the type that numbers in memory are computed in."""
        return types.float32 if dtype == HALF else dtype

    def _pointer(context, builder, array_type, lanes, array, at):
        """Return the pointer to some numbers, the type of one, and what their place is a multiple of."""
        data = context.make_array(array_type)(context, builder, array).data
        element = _element(array_type.dtype)
        pointer = builder.gep(builder.bitcast(data, element.as_pointer()), [at], inbounds=True)
        target = element if lanes == 1 else ir.VectorType(element, lanes)
        return builder.bitcast(pointer, target.as_pointer()), element, min(16, lanes * array_type.dtype.bitwidth // 8)

    def _load(builder, pointer, element):
        value = builder.load(pointer)
        return builder.fpext(value, ir.FloatType()) if isinstance(element, ir.HalfType) else value

    @access
    def load(typing, array, at):
        """Return array[at]; float16 as float32."""
        signature = _computed(array.dtype)(array, types.int64)

        def codegen(context, builder, signature, arguments):
            array, at = arguments
            pointer, element, _ = _pointer(context, builder, signature.args[0], 1, array, at)
            return _load(builder, pointer, element)

        return signature, codegen

    @access
    def load_byte(typing, array, at):
        """Return the number at a place counted in bytes: one sum of three gives its address. float16 as float32."""
        signature = _computed(array.dtype)(array, types.int64)

        def codegen(context, builder, signature, arguments):
            array_type, (array, at) = signature.args[0], arguments
            data = context.make_array(array_type)(context, builder, array).data
            pointer = builder.gep(builder.bitcast(data, ir.IntType(8).as_pointer()), [at])
            element = _element(array_type.dtype)
            return _load(builder, builder.bitcast(pointer, element.as_pointer()), element)

        return signature, codegen

    @access
    def store(typing, array, at, value):
        """Write array[at]; to float16 with one rounding."""
        signature = types.void(array, types.int64, _computed(array.dtype))

        def codegen(context, builder, signature, arguments):
            array, at, value = arguments
            pointer, element, _ = _pointer(context, builder, signature.args[0], 1, array, at)
            builder.store(builder.fptrunc(value, element) if isinstance(element, ir.HalfType) else value, pointer)
            return context.get_dummy_value()

        return signature, codegen

    def _load_several(array, lanes):
        signature = types.UniTuple(_computed(array.dtype), lanes)(array, types.int64)

        def codegen(context, builder, signature, arguments):
            array, at = arguments
            pointer, element, align = _pointer(context, builder, signature.args[0], lanes, array, at)
            vector = builder.load(pointer)
            vector.align = align
            values = [builder.extract_element(vector, ir.IntType(32)(lane)) for lane in range(lanes)]
            if isinstance(element, ir.HalfType):
                values = [builder.fpext(value, ir.FloatType()) for value in values]
            return context.make_tuple(builder, signature.return_type, values)

        return signature, codegen

    def _store_several(array, lanes):
        signature = types.void(array, types.int64, *[_computed(array.dtype)] * lanes)

        def codegen(context, builder, signature, arguments):
            array, at, *values = arguments
            pointer, element, align = _pointer(context, builder, signature.args[0], lanes, array, at)
            vector = ir.Constant(ir.VectorType(element, lanes), ir.Undefined)
            for lane, value in enumerate(values):
                if isinstance(element, ir.HalfType):
                    value = builder.fptrunc(value, element)
                vector = builder.insert_element(vector, value, ir.IntType(32)(lane))
            builder.store(vector, pointer).align = align
            return context.get_dummy_value()

        return signature, codegen

    @access
    def load2(typing, array, at):
        """Return two integers from array[at] on, which lies at a multiple of 16 bytes."""
        return _load_several(array, 2)

    @access
    def load4(typing, array, at):
        """Return four numbers from array[at] on, which lies at a multiple of 16 bytes; float16 at one of 8."""
        return _load_several(array, 4)

    @access
    def store2(typing, array, at, a, b):
        """Write two integers from array[at] on, which lies at a multiple of 16 bytes."""
        return _store_several(array, 2)

    @access
    def store4(typing, array, at, a, b, c, d):
        """Write four numbers from array[at] on, which lies at a multiple of 16 bytes; float16 at one of 8."""
        return _store_several(array, 4)
