"""Wrong turns of users of the functions, each with the words that the error has for it.

Each is evaluated with the names of ``names.py``, in a folder in which ``here`` has the files of
``files.py``.
"""

from __future__ import annotations

# fmt: off
TURNS: dict[str, str] = {
    "ms.export(nnx.Linear, X, file_name='out')":
        "Linear is a class: pass a network that is made of it,",
    "ms.export(Thing, X, file_name='out')":
        "Thing is a class: pass a network that is made of it, Thing(...)",
    "ms.export(Thing(), X, file_name='out')":
        "net must be a function, an nnx.Module or a pair (function,",
    "ms.export(lin(), jnp.ones((2, 5)), file_name='out')":
        "TypeError: dot_general requires contracting dimensions to have",
    "ms.export(lin(), file_name='out')":
        "export(net, x, y, ...) takes an example of each input, or its",
    "ms.export(lin(), X, X, file_name='out')":
        "an argument that is an option, and no array, was given an",
    "ms.export(conv, jnp.ones((2, 3, 8, 9)), file_name='out')":
        "the network has its channels last, and inputs has them on axis",
    "ms.export(conv, jnp.ones((3,)), file_name='out')":
        "an input may have too few or too many axes for the layer",
    "ms.export(lin(), (2, 3), file_name='out')":
        "inputs is a tuple of numbers: if it is the shape of an input,",
    "ms.export(lin(), 'float32', file_name='out')":
        "the input inputs is a str: inputs are arrays, ShapeDtypeStructs",
    "ms.export(nnx.Embed(3, 4, rngs=nnx.Rngs(0)), X, file_name='out')":
        "ValueError: Input type must be an integer or unsigned integer",
    "ms.export(lin(), None, file_name='out')":
        "None is no input: where an argument is to keep its default,",
    "ms.export(lambda x: x, np.array([None, 1], object), file_name='out')":
        "the input x is no array of numbers, but of object",
    "ms.export(lambda x: x if x.sum() > 0 else -x, X, file_name='out')":
        "values are not known while a network is exported: in place of",
    "ms.export(lambda x: sum((x for _ in range(x[0, 0].astype(int)))), X, file_name='out')":
        "TracerIntegerConversionError: The __index__() method was called",
    "ms.export(user_idx, X, file_name='out')": "IndexError: list index out of range",
    "ms.export(user_key, X, file_name='out')": "KeyError: 'b'",
    "ms.export(user_attr, X, file_name='out')":
        "AttributeError: DynamicJaxprTracer has no attribute no_such",
    "ms.export(user_assert, X, file_name='out')": "AssertionError",
    "ms.export(user_stop, X, file_name='out')": "StopIteration",
    "ms.export(user_rec, X, file_name='out')":
        "a function calls itself without end, or is nested deeper than",
    "ms.export(promo, X, file_name='out')": "cast one of them: x.astype(y.dtype)",
    "ms.export(lambda x: x + np.ones(7), X, file_name='out')":
        "ValueError: Incompatible shapes for broadcasting: shapes=[(2,",
    "ms.export(lambda x: x.reshape(4, 4), X, file_name='out')":
        "TypeError: cannot reshape array of shape (2, 3) (size 6) into",
    "ms.export(lambda x: jnp.concatenate([x, jnp.ones((3, 9))]), X, file_name='out')":
        "TypeError: Cannot concatenate arrays with shapes that differ in",
    "ms.export(lambda x: x[0, 0, 0], X, file_name='out')":
        "IndexError: Too many indices: array is 2-dimensional, but 3",
    "ms.export(lambda x: x.sum(5), X, file_name='out')":
        "ValueError: axis 5 is out of bounds for array of dimension 2",
    "ms.export(lambda x: jnp.einsum('ij,jk,kl', x, x, x), X, file_name='out')":
        "ValueError: Size of label 'j' for operand 1 (3) does not match",
    "ms.export(lambda x: None, X, file_name='out')": "the function returns no arrays",
    "ms.export(lambda x: 'yes', X, file_name='out')":
        "the network's result is a str: results are arrays",
    "ms.export(lambda x: jax.pure_callback(np.sin, x, x), X, file_name='out')":
        "pure_callback: Python code computes its results, which a file",
    "ms.export((lambda p, x: x @ p['w'], {'w': None}), X, file_name='out')":
        "TypeError: unsupported operand type(s) for @:",
    "ms.export((lambda p, x: x @ p['w'], {'w': jax.ShapeDtypeStruct((3, 4), jnp.float32)}), X, file_name='out')":
        "the weight 'w' has a shape and no values: initialise the network",
    "ms.export((lambda p, x: x @ p['kernel'], {'w': W}), X, file_name='out')": "KeyError: 'kernel'",
    "ms.export(lambda *, x: x, X, file_name='out')":
        "TypeError: <lambda>() takes 0 positional arguments but 1 was",
    "ms.export(Thing().__init__, X, file_name='out')":
        "TypeError: Thing.__init__() takes exactly one argument (the",
    "ms.export(jax.vmap(lambda x, y: x + y), X, np.ones((5, 3), np.float32), file_name='out')":
        "one axis had size 5: axis 0 of argument y of type float32[5,3]",
    "ms.export(lambda x: jax.lax.scan(lambda c, _: (c.astype(jnp.int32), None), x, None, length=3)[0], X, file_name='out')":
        "TypeError: scan body function carry input and carry output must",
    "ms.export(lambda x: jax.lax.cond(True, lambda: x, lambda: x[0]), X, file_name='out')":
        "TypeError: cond branches must have equal output types but they",
    "ms.export(lambda x: jax.lax.while_loop(lambda c: c, lambda c: c + 1, x), X, file_name='out')":
        "TypeError: cond_fun must return a boolean scalar, but got",
    "ms.export(jax.grad(lambda x: x), X, file_name='out')":
        "TypeError: Gradient only defined for scalar-output functions.",
    "ms.export(lambda x: jax.lax.psum(x, 'i'), X, file_name='out')":
        "NameError: Found an unbound axis name: i. To fix this, please",
    "ms.export(lambda x: (_ for _ in ()).throw(RuntimeError('mine')), X, file_name='out')":
        "RuntimeError: mine",
    "ms.export(lambda x: jnp.zeros((-1, 3)) + x, X, file_name='out')":
        "TypeError: broadcast_in_dim shape must have every element be",
    "ms.export(nnx.Dropout(0.5), X, file_name='out', training=True)":
        "ValueError: `deterministic` is False, but no `rngs` argument",
    "ms.export(type('Net', (nnx.Module,), {'__call__': lambda self, x: self.layer(x)})(), X, file_name='out')":
        "AttributeError: 'Net' object has no attribute 'layer'",
    "ms.export(lambda x: x, X, file_name='out', file_format='TFLITE')":
        "file_format must be one of MINDIR, AIR, ONNX, not 'TFLITE'",
    "ms.export(lambda x: x, X, file_name=None)": "file_name must be a path, not NoneType",
    "ms.export(lambda x: x, X, file_name='')":
        "file_name must name a file or folder, not '': it is empty",
    "ms.export(lambda x: x, X, file_name='nowhere/net')": "no such folder",
    "ms.export(lambda x: x, X, file_name='net.pt')":
        "net.pt ends with .pt, but file_format is MINDIR",
    "ms.export(lambda x: x, X, file_name='net.onnx')":
        "net.onnx ends with .onnx, but file_format is MINDIR",
    "ms.export(lambda x: x, X, file_name='a' * 300)": "File name too long",
    "ms.export(lambda x: x, X, file_name='out', enc_key=b'short')":
        "enc_key for AES-GCM must have 16 or 24 or 32 bytes, not 5",
    "ms.export(lambda x: x, X, file_name='out', enc_key='0123456789abcdef')":
        "enc_key must be bytes, not str",
    "ms.export(lambda x: x, X, file_name='out', enc_key=KEY, enc_mode='ROT13')":
        "enc_mode must be one of AES-GCM, AES-CBC, SM4-CBC, not 'ROT13'",
    "ms.export(lambda x: x, X, file_name='out', enc_key=KEY, file_format='ONNX')":
        "ONNX has no cipher of its own: enc_mode must be a function of",
    "ms.export(lambda x: x, X, file_name='out', verfy=True)":
        "no model format has an option 'verfy'",
    "ms.export(lambda x: x, X, file_name='out', opset=18)": "opset is for ONNX, not for MINDIR",
    "ms.export(lambda x: x, X, file_name='out', opset=5, file_format='ONNX')":
        "opset must be 18 to 26, not 5",
    "ms.export(lambda x: x, X, file_name='out', opset='18', file_format='ONNX')":
        "opset must be an int, not str",
    "ms.export(lambda x: x, X, file_name='out', soc=3, file_format='AIR')":
        "soc is the name of a chip, not int",
    "ms.export(lambda x: x, X, file_name='out', target='gpu')":
        "target must be one of (None, 'cpu') for MINDIR, not 'gpu'",
    "ms.export(lambda x: x, X, file_name='out', weights='int2')":
        "weights must be None, 'int8' or 'int4', not 'int2'",
    "ms.export(lambda x: x, X, file_name='out', weights='int8', weight_block_size=7)":
        "weight_block_size must be a power of two from 16 on, not 7",
    "ms.export(lambda x: x, X, file_name='out', weight_block_size=32)":
        "weight_block_size is for weights='int8' and weights='int4'",
    "ms.export(lambda x: x, X, file_name='out', split_bytes='1GB')":
        "split_bytes must be an int, not str",
    "ms.export(lambda x: x, ms.TensorSpec(('s', 3), 'float32'), file_name='out', constraints='s >= 2')":
        "constraints must be a list of texts, not 's >= 2'",
    "ms.export(lambda x: x, ms.TensorSpec(('s', 3), 'float32'), file_name='out', constraints=['s is big'])":
        "constraints=['s is big']: Constraint parsing error: must",
    "ms.export(lambda x: x, X, file_name='out', constraints=['t >= 2'])":
        "the constraint 't >= 2' is of t, a size of no input",
    "ms.export(lambda x: x, ms.TensorSpec(('s', 3), 'float32'), file_name='out', constraints=['s >= 5', 's <= 2'])":
        "no sizes keep constraints=['s >= 5', 's <= 2']: Unsatisfiable",
    "ms.export(lambda x: x, X, file_name='out', input_names=['a', 'b'])":
        "input_names has 2 names, where the network has 1 input: x",
    "ms.export(lambda x: x, X, file_name='out', input_names='ab')":
        "input_names must be a sequence of strings, not str",
    "ms.export(lambda x: x, X, file_name='out', input_names=[3])":
        "input_names must be strings, but has a int",
    "ms.export(lambda x: x, X, file_name='out', input_names={'y': 'z'})":
        "input_names has 'y', but the names are: x",
    "ms.export(lambda x, y: x + y, X, X, file_name='out', input_names=['a', 'a'])":
        "input_names has 'a' twice",
    "ms.export(lambda x: x, X, file_name='out', output_names=['a', 'b'])":
        "output_names has 2 names, where the network has 1 output: output",
    "ms.export(lambda x: jnp.sin(x), X, file_name='out', rules={'sin': 3})":
        "rules must be a mapping of names of primitives to functions",
    "ms.export(lambda x: jnp.sin(x), X, file_name='out', rules={'sin': lambda ctx, x: ctx.nothing})":
        "sin: with the parameter accuracy=None, which its rule does not",
    "ms.export(lin(), X, file_name='out', convention='pytorch')":
        "base must be one of mindspore, mint, or a network:",
    "ms.export(lin(), X, file_name='out', convention=3)":
        "convention must be a str, a Convention or a Family, not int",
    "ms.export(lambda x: x, X, file_name='out', user_info=[1])":
        "user_info must be a mapping of strings to strings",
    "ms.export(lambda x: x, X, file_name='out', custom_func=3)":
        "custom_func must be callable, not int",
    "ms.export(lambda x: x, ms.TensorSpec((-1, 3), 'float32'), file_name='out')":
        "the input x has a negative size, (-1, 3): dynamic is None",
    "ms.TensorSpec((2.5, 3), 'float32')": "a size must be an int, None or a text, not 2.5",
    "ms.export(lambda x: x, ms.TensorSpec(('a b', 3), 'float32'), file_name='out')":
        "the size 'a b' of the input x is no size: syntax error in",
    "ms.TensorSpec((2, 3), 'float31')": "dtype must be one of NumPy or ml_dtypes, not 'float31'",
    "ms.TensorSpec(3, 'float32')": "shape must be a tuple of sizes, not 3",
    "ms.export(lambda x, y: x @ y, ms.TensorSpec(('a', 3), 'float32'), ms.TensorSpec(('b', 3), 'float32'), file_name='out')":
        'equal sizes have one name, or a constraint: constraints=["c ==',
    "ms.export(lambda x: x, X, file_name='out', file_format='ONNX', engine=X)":
        "engine must be one of",
    "ms.export(lambda x: x, X, file_name='out', file_format='ONNX', target=X)":
        "target must be one of",
    "ms.export(lambda x: x, X, file_name='out', file_format='ONNX', weights=X)":
        "weights must be None, 'int8' or 'int4', not",
    "ms.export(lambda x: x, X, file_name='out', file_format='ONNX', runtime=X, verify=True)":
        "runtime must be one of",
    "ms.save_checkpoint(S, 'out.ckpt', format=X)": "format must be one of",
    "ms.export(lambda x: x, X, file_name='out', file_format='ONNX', engine='torch')":
        "engine must be one of ('auto', 'native', 'jax2onnx'), not",
    "ms.export(lambda x: x, X, file_name='out', enc_mode=lambda a, b: a)":
        "enc_mode is a function, but there is no enc_key: nothing is",
    "ms.export(lambda x: x, X, file_name='out', file_format='ONNX', runtime='torch', verify=True)":
        "runtime must be one of onnxruntime, openvino, tract, lite, not 'torch'",
    "ms.export(lambda x: (x, x), X, file_name='out', output_names=['a', 'a'])":
        "output_names has 'a' twice",
    "ms.export(lambda x: x, X, file_name='out', enc_key=KEY, enc_mode=lambda a, b: a, verify=True)":
        "verify=True cannot read a file that a function of yours has",
    "ms.export(lambda x: x, np.ones(3, np.longdouble), file_name='out')":
        "MindIR has no tensors of dtype float128: cast to another dtype",
    "ms.load('here/net.mindir')(np.ones((2, 5), np.float32), K)":
        "the inputs do not fit, in the operator MatMul at",
    "ms.load('here/net.mindir')(np.ones(3, np.float32), K)":
        "the input 'x' has another number of axes: expected f32[2,3],",
    "ms.load('here/net.mindir')(np.ones((2, 3), np.int32), K)":
        "the input 'x' holds other numbers: expected f32[2,3], found",
    "ms.load('here/net.mindir')(X)":
        "the model takes (x, {'k': pair.k}), and was given (f32[2,3],):",
    "ms.load('here/net.mindir')('x', K)": "the input 'x' is no array: expected f32[2,3], found str",
    "ms.load('here/net.mindir').apply(None, X, K)":
        "parameters must be a dict like f.parameters, not NoneType",
    "ms.load('here/net.mindir').apply({'v': W}, X, K)":
        "parameters are missing: 'w'; the model has no 'v'; f.parameters",
    "ms.load('here/net.mindir').apply({'w': W, 'v': W}, X, K)":
        "the model has no 'v'; f.parameters has them all",
    "ms.load('here/net.mindir').apply({'w': W.T}, X, K)":
        "the parameter 'w' is of another shape: expected f32[3,4], found",
    "ms.load('here/net.mindir').apply({'w': W.astype(np.int32)}, X, K)":
        "the parameter 'w' holds other numbers: expected f32[3,4], found",
    "ms.load('here/net.mindir').apply({'w': 'w'}, X, K)":
        "the parameter 'w' is no array: expected f32[3,4], found str",
    "jax.jit(ms.load('here/net.mindir'))(np.ones((2, 5), np.float32), K)":
        "the inputs do not fit, in the operator MatMul at",
    "ms.load('here/net.mindir').apply({'w': W}, X, K, mutable=3)": "mutable must be bool, not int",
    "ms.load('here/net.mindir').apply({'w': W}, X, K, rng=3)":
        "rng must be a jax.random.key, not int",
    "ms.load('here/net.air')(np.float32(1), K)":
        "the input 'x' has another number of axes: expected f32[2,3],",
    "ms.load('here/net.air')(X)": "the model takes (x, {'k': pair.k}), and was given (f32[2,3],):",
    "ms.load('here/net.air')('x', K)": "the input 'x' is no array: expected f32[2,3], found str",
    "ms.load('here/net.air')(X, {'k': np.ones(7, np.float32)})":
        "the inputs do not fit, in the operator Reshape 'Reshape_0'",
    "ms.load('here/net.air').apply([W], X, K)":
        "parameters must be a dict like f.parameters, not list",
    "ms.load('here/net.air').apply({'w': W.T}, X, K)":
        "the parameter 'w' is of another shape: expected f32[3,4], found",
    "ms.load('here/net.air').apply({'w': {'w': W}}, X, K)":
        "the parameter 'w' is no array: expected f32[3,4], found dict",
    "ms.load('here/net.air').apply({'w': W}, X, K, rng=3)": "rng must be a jax.random.key, not int",
    "ms.load('nowhere.mindir')": "No such file or directory",
    "ms.load('here')": "this is a folder, not a model file (a folder of weights:",
    "ms.load('here/empty')": "this is a folder, not a model file (a folder of weights:",
    "ms.load(None)": "file_name must be a path, not NoneType",
    "ms.load('here/net.onnx')": "ONNX files are run by onnxruntime, not read by JAX",
    "ms.load('here/a.ckpt')": "this is a CheckPoint: load_checkpoint reads it",
    "ms.load('here/a.safetensors')": "this is a safetensors file: load_checkpoint reads it",
    "ms.load('here/text.txt')": "the file is damaged, or no MindIR",
    "ms.load('here/empty.ckpt')": "the file is empty",
    "ms.load('here/a.ckpt.gz')": "this is a gzip file: unpack it first",
    "ms.load('here/cut_net.mindir')": "the file is damaged, or no MindIR",
    "ms.load('here/cut_net.onnx')": "ONNX files are run by onnxruntime, not read by JAX",
    "ms.load('here/a.npz')": "this is a zip archive, as .npz and PyTorch's files are: msckpt",
    "ms.load('here/key.mindir')": "the file is encrypted with AES-GCM: pass dec_key",
    "ms.load('here/key.mindir', dec_key=bytes(16))": "wrong key, or the block is damaged",
    "ms.load('here/key.mindir', dec_key=b'short')":
        "dec_key for AES-GCM must have 16 or 24 or 32 bytes, not 5",
    "ms.load('here/key.mindir', dec_key='0123456789abcdef')": "dec_key must be bytes, not str",
    "ms.load('here/key.mindir', dec_key=KEY, dec_mode='SM4-CBC')":
        "the file is encrypted in another mode: pass dec_mode (expected",
    "ms.load('here/key.mindir', dec_key=KEY, dec_mode='X')":
        "dec_mode must be one of AES-GCM, AES-CBC, SM4-CBC, not 'X'",
    "ms.load('here/net.mindir', dec_key=KEY)": "the file is not encrypted: omit dec_key",
    "ms.load('here/key.mindir', dec_key=KEY, dec_mode=lambda p, k: 3)":
        "dec_mode must return bytes, not int",
    "ms.load('here/net.mindir', rules={'MatMul': 3})":
        "rules must be a mapping of names of operators to functions",
    "ms.load('here/net.mindir', sizes={'MatMul': 3})":
        "sizes: 'MatMul' is none of the operators that take one:",
    "ms.load('here/net.mindir', sizes=3)": "sizes must be a dict of operators to numbers, not 3",
    "ms.load('here/net.mindir', sizes={'Unique': 'many'})":
        "sizes: 'Unique' takes a number of rows, not 'many'",
    "ms.load('here/hub')": "this is a folder, not a model file (a folder of weights:",
    "ms.load('here/orbax')": "this is a folder, not a model file (a folder of weights:",
    "ms.save_checkpoint(S, None)": "ckpt_file_name must be a path, not NoneType",
    "ms.save_checkpoint(S, '')": "ckpt_file_name must name a file or folder, not '': it is empty",
    "ms.save_checkpoint(S, 'here')": "here is a folder; ckpt_file_name must name a file",
    "ms.save_checkpoint(S, 'here/')": "here/ is a folder; ckpt_file_name must name a file",
    "ms.save_checkpoint(S, 'nowhere/a.ckpt')": "the folder nowhere does not exist; create it first",
    "ms.save_checkpoint(S, 'here/a.ckpt/x.ckpt')":
        "the folder here/a.ckpt does not exist; create it first",
    "ms.save_checkpoint(S, 'out.pt')":
        "out.pt: no such file is written; name one that ends with .ckpt",
    "ms.save_checkpoint(S, 'out.npz')":
        "out.npz: no such file is written; name one that ends with .ckpt",
    "ms.save_checkpoint(S, 'out.mindir')":
        "out.mindir: no such file is written; name one that ends with",
    "ms.save_checkpoint(S, 'foo://x/a.ckpt')":
        "'foo://x/a.ckpt': neither this package nor fsspec knows foo://;",
    "ms.save_checkpoint(Thing(), 'out.ckpt')":
        "'value' is a Thing: a CheckPoint holds arrays, numbers, strings",
    "ms.save_checkpoint(lambda: 1, 'out.ckpt')":
        "'value' is a function: a CheckPoint holds arrays, numbers,",
    "ms.save_checkpoint(nnx.Linear, 'out.ckpt')":
        "'value' is a ModuleMeta: a CheckPoint holds arrays, numbers,",
    "ms.save_checkpoint({'a': Thing()}, 'out.ckpt')":
        "'a' is a Thing: a CheckPoint holds arrays, numbers, strings and",
    "ms.save_checkpoint({'a': b'x'}, 'out.ckpt')":
        "'a' is a bytes: a CheckPoint holds arrays, numbers, strings and",
    "ms.save_checkpoint({'a': np.array([None])}, 'out.ckpt')":
        "MindSpore cannot load dtype object; convert the objects to",
    "ms.save_checkpoint({'a': jax.ShapeDtypeStruct((2,), np.float32)}, 'out.ckpt')":
        "'a' is a ShapeDtypeStruct: a CheckPoint holds arrays, numbers,",
    "jax.jit(lambda x: ms.save_checkpoint({'w': x}, 'out.ckpt'))(W)":
        "'w' is a traced value: call save_checkpoint outside of jit (at",
    "ms.save_checkpoint({1: W, '1': W}, 'out.ckpt')":
        "a dict in the tree has keys of several kinds, which have no",
    "ms.save_checkpoint({'a.b': W, 'a': {'b': W}}, 'out.ckpt')":
        "two leaves have this name: ['a']['b'] and ['a.b']; rename one",
    "ms.save_checkpoint([{'name': '', 'data': W}], 'out.ckpt')": "the name of [0] is empty",
    "ms.save_checkpoint(S, 'out.ckpt', format='onnx')":
        "format must be one of ckpt, safetensors, not 'onnx'",
    "ms.save_checkpoint(S, 'out.ckpt', enc_key=b'x')":
        "enc_key for AES-GCM must have 16 or 24 or 32 bytes, not 1",
    "ms.save_checkpoint(S, 'out.ckpt', enc_key='0123456789abcdef')":
        "enc_key must be bytes, not str",
    "ms.save_checkpoint(S, 'out.ckpt', enc_key=KEY, enc_mode='X')":
        "enc_mode must be one of AES-GCM, AES-CBC, SM4-CBC, not 'X'",
    "ms.save_checkpoint(S, 'out.ckpt', enc_key=KEY, crc_check=True)":
        "crc_check cannot be combined with enc_key: MindSpore could not",
    "ms.save_checkpoint(S, 'out.ckpt', format='safetensors', enc_key=KEY)":
        "safetensors files are not encrypted: save as ckpt, or without",
    "ms.save_checkpoint({'a': 'x'}, 'out.safetensors')":
        "safetensors holds no strings; save as ckpt, or leave it out",
    "ms.save_checkpoint(S, 'out.ckpt', append_dict=['a'])": "append_dict must be a dict, not list",
    "ms.save_checkpoint(S, 'out.ckpt', append_dict={'w': 1})":
        "two entries of save_obj, append_dict or PRNG keys have this",
    "ms.save_checkpoint(S, 'out.ckpt', append_dict={'e': Thing()})":
        "append_dict: 'e' is a Thing: a CheckPoint holds arrays,",
    "ms.save_checkpoint(S, 'out.ckpt', choice_func='w')": "choice_func must be callable",
    "ms.save_checkpoint(S, 'out.ckpt', async_save='fork')":
        "async_save must be 'thread' or 'process', not 'fork'",
    "ms.save_checkpoint(S, 'out.ckpt', async_save=2)": "async_save must be bool or str, not int",
    "ms.save_checkpoint(S, 'out.ckpt', slice_bytes=0)":
        "slice_bytes must be a multiple of 16, not 0",
    "ms.save_checkpoint(S, 'out.ckpt', slice_bytes='1MB')": "slice_bytes must be an int, not str",
    "ms.save_checkpoint(S, 'out.ckpt', threads='2')": "threads must be an int, not str",
    "ms.save_checkpoint(S, 'out.ckpt', timeout='1')": "timeout must be a number, not str",
    "ms.save_checkpoint(S, 'out.ckpt', progress=3)":
        "progress must be True or a function of a number of bytes, not",
    "ms.save_checkpoint(S, 'out', format='safetensors', max_shard_size='5XB')":
        "max_shard_size must be like '5GB', '500MB' or '3GiB', not '5XB'",
    "ms.save_checkpoint(S, 'out.ckpt', max_shard_size='5GB')":
        "max_shard_size= needs format='safetensors'",
    "ms.save_checkpoint(S, 'out', format='safetensors', max_shard_size=0)":
        "max_shard_size must be positive, not 0",
    "ms.save_checkpoint(S, 'out.ckpt', convention='torch')":
        "base must be one of mindspore, mint, or a network:",
    "ms.save_checkpoint(S, 'out.ckpt', convention=3)":
        "convention must be a str, a Convention or a Family, not int",
    "ms.load_checkpoint('nowhere.ckpt')": "No such file or directory",
    "ms.load_checkpoint(None)": "ckpt_file_name must be a path, not NoneType",
    "ms.load_checkpoint('')": "ckpt_file_name must name a file or folder, not '': it is empty",
    "ms.load_checkpoint('here')": "the safetensors header is longer than the file: truncated, or",
    "ms.load_checkpoint('here/empty')":
        "this is a folder, not a CheckPoint file; it is no folder of the",
    "ms.load_checkpoint({0: 'here/a.ckpt'})":
        "ckpt_file_name is a dict of files by rank: pass their strategy,",
    "ms.load_checkpoint('foo://a/b')":
        "'foo://a/b': neither this package nor fsspec knows foo://; use",
    "ms.load_checkpoint('here/key.ckpt', dec_key=bytes(16))": "wrong key, or the block is damaged",
    "ms.load_checkpoint('here/key.ckpt', dec_key=b's')":
        "dec_key for AES-GCM must have 16 or 24 or 32 bytes, not 1",
    "ms.load_checkpoint('here/key.ckpt', dec_key='0123456789abcdef')":
        "dec_key must be bytes, not str",
    "ms.load_checkpoint('here/key.ckpt', dec_key=KEY, dec_mode='X')":
        "dec_mode must be one of AES-GCM, AES-CBC, SM4-CBC, not 'X'",
    "ms.load_checkpoint('here/key.ckpt', dec_key=KEY, dec_mode='SM4-CBC')":
        "the file is encrypted in another mode (expected SM4-CBC, found",
    "ms.load_checkpoint('here/a.ckpt', dec_key=KEY)":
        "dec_key was given, but the file is not encrypted",
    "ms.load_checkpoint('here/a.ckpt', format='onnx')":
        "format must be one of ckpt, safetensors, sharded, orbax, npz,",
    "ms.load_checkpoint('here/a.ckpt', format='safetensors')":
        "the file is of another format (expected safetensors, found ckpt)",
    "ms.load_checkpoint('here/a.ckpt', crc_check=True)":
        "the file holds no check sum: it was saved without crc_check, or",
    "ms.load_checkpoint('here/a.ckpt', crc_check=3)": "crc_check must be bool, not int",
    "ms.load_checkpoint('here/a.ckpt', filter_prefix=3)":
        "filter_prefix must be a str or a list of str, not int",
    "ms.load_checkpoint('here/a.ckpt', filter_prefix='')":
        "filter_prefix must not be empty: it would match everything or",
    "ms.load_checkpoint('here/a.ckpt', filter_prefix=['w', 'b', 's'])":
        "the filters leave none of the parameters (found 3 before)",
    "ms.load_checkpoint('here/a.ckpt', filter_prefix=[3])":
        "filter_prefix must hold str only: (3,)",
    "ms.load_checkpoint('here/a.ckpt', choice_func=3)": "choice_func must be callable",
    "ms.load_checkpoint('here/a.ckpt', net='net')":
        "net must be an nnx.Module, not str: for pytrees use",
    "ms.load_checkpoint('here/a.ckpt', net=lin(), strict_load=1)":
        "strict_load must be bool, not int",
    "ms.load_checkpoint('here/a.ckpt', net=lin())":
        "nothing was loaded: of 2 names none fits; 'bias': no such name",
    "ms.load_checkpoint('here/a.ckpt', like={'x': W})":
        "`like` has 1 parameter that the file lacks: 'x'",
    "ms.load_checkpoint('here/a.ckpt', like={'w': W.T})":
        "here/a.ckpt, parameter 'w': the shape differs (expected [4, 3],",
    "ms.load_checkpoint('here/a.ckpt', like={'w': Thing()})":
        "'w' is a Thing, which no CheckPoint holds",
    "ms.load_checkpoint('here/a.ckpt', like=lin(), net=lin())":
        "pass only one of net, like and sharding",
    "ms.load_checkpoint('here/a.ckpt', like={'step': 'x'})":
        "here/a.ckpt, parameter 'step': the value is of another kind",
    "ms.load_checkpoint('here/a.ckpt', like={'w': ms.TensorSpec((None, 4), 'float32')})":
        "'w' is a TensorSpec, which no CheckPoint holds",
    "ms.load_checkpoint('here/a.ckpt', sharding='x')":
        "sharding must be a jax.sharding.Sharding or a function of name",
    "ms.load_checkpoint('here/a.ckpt', sharding=jax.NamedSharding(mesh, jax.P('x')))":
        "its shape [4] does not fit the sharding: ",
    "ms.load_checkpoint('here/a.ckpt', sharding=lambda n, s: 'x')":
        "sharding('b', (4,)) gave a str",
    "ms.load_checkpoint('here/a.ckpt', like={'w': jax.ShapeDtypeStruct((3, 4), np.float32, sharding=jax.NamedSharding(mesh, jax.P('x')))})":
        "its shape [3, 4] does not fit the sharding: ",
    "ms.load_checkpoint('here', strategy='nowhere.ckpt')":
        "there is no such strategy file (a save that is killed may leave",
    "ms.load_checkpoint('here/a.ckpt', strategy='here/strategy.ckpt')":
        "here/a.ckpt is not a folder of rank_N folders",
    "ms.load_checkpoint('here', strategy='here/a.ckpt')": "by its field 1 it is a CheckPoint",
    "ms.load_checkpoint('here', strategy=3)": "strategy_filename must be a path, not int",
    "ms.load_checkpoint('here/empty', strategy='here/strategy.ckpt')":
        "no rank_N folder with a CheckPoint in it (convert takes other",
    "ms.load_checkpoint('here', strategy='here/text.txt')":
        "this is no strategy file: a CheckPoint has no fields of wire",
    "ms.load_checkpoint('here/a.ckpt', like=S, convention='torch')":
        "base must be one of mindspore, mint, or a network:",
    "ms.load_checkpoint('here/a.ckpt', convention='mindspore')":
        "convention needs net= or like=: the meaning of a name depends",
    "ms.load_checkpoint('here/a.ckpt', like=S, convention=3)":
        "convention must be a str, a Convention or a Family, not int",
    "ms.load_checkpoint('here/a.ckpt', like=S, convention=ms.Family(CONFIG, jax='maxtext'))":
        "the tree is not that of llama with this config; not in its",
    "ms.load_checkpoint('here/a.ckpt', like=ms.Family(CONFIG, jax='maxtext').abstract(), convention=ms.Family(CONFIG, jax='maxtext'))":
        "`like` has 30 parameters that the file lacks:",
    "ms.load_checkpoint('here/a.ckpt')['nope']": "there is no parameter 'nope'",
    "ms.open_checkpoint('here/a.ckpt')['nope']": "here/a.ckpt has no parameter 'nope'",
    "ms.open_checkpoint('here/a.ckpt').get_slice('w')[0, 0, 0]":
        "too many indices for shape (3, 4)",
    "ms.open_checkpoint('here/a.ckpt').get_slice('w')[9]": "9 is outside of axis 0, which has 3",
    "ms.open_checkpoint('here/a.ckpt').get_slice('w')['a']":
        "tensors are sliced by ints and slices, not by str",
    "ms.open_checkpoint('here/net.mindir')":
        "this is a MindIR model: msckpt_jax.load reads it, and msckpt",
    "ms.load_checkpoint('here/a.ckpt')[0]": "there is no parameter 0",
    "((f := ms.open_checkpoint('here/a.ckpt')), f.close(), f['w'])[2]":
        "here/a.ckpt has no parameter 'w': the file is closed",
    "ms.load_param_into_net(nnx.Linear, {'kernel': W})":
        "net must be an nnx.Module, not ModuleMeta: for pytrees use",
    "ms.load_param_into_net(lin(), [W])": "parameter_dict must be a dict, not list",
    "ms.load_param_into_net(lin(), {})":
        "nothing was loaded: of 2 names none fits; 'bias': no such name",
    "ms.load_param_into_net(lin(), {'kernel': W.T})":
        "the shape differs (expected [3, 4], found [4, 3])",
    "ms.load_param_into_net(lin(), {'kernel': W.astype(int)})":
        "the dtype differs (expected float32, found int64)",
    "ms.load_param_into_net(lin(), {'kernel': Thing()})": "parameter_dict['kernel'] is a Thing",
    "ms.load_param_into_net(lin(), {'kernel': 'x'})":
        "the value is of another kind (expected float32[3, 4], found a",
    "ms.load_param_into_net(lin(), {'kernel': W}, strict_load='no')":
        "strict_load must be bool, not str",
    "ms.load_param_into_net(lin(), {'weight': W.T}, convention='torch')":
        "base must be one of mindspore, mint, or a network:",
    "ms.load_param_into_net(lin(), {3: W})": "parameter_dict must have texts as names, not 3",
    "ms.load_param_into_net(lin(), {'kernel': W.astype(np.float64) * 1e+300})":
        "values do not fit float32; keep it as float64, in JAX with",
    "ms.load_param_into_net(lin(), {'kernel': W}, skip_mismatch='x')":
        "skip_mismatch must be bool, not str",
    "ms.load_param_into_tree('w', {'w': W})":
        "nothing was loaded: of 1 name none fits; 'value': no such name",
    "ms.load_param_into_tree({'w': Thing()}, {'w': W})":
        "'w' is a Thing, which no CheckPoint holds",
    "ms.load_param_into_tree({'w': W.T}, {'w': W})":
        "the shape differs (expected [4, 3], found [3, 4])",
    "ms.load_param_into_tree({'w': W.astype(np.int8)}, {'w': W})":
        "the dtype differs (expected int8, found float32)",
    "ms.filter_parameters([1], 'a')": "parameter_dict must be a dict, not list",
    "ms.filter_parameters({'a': 1}, 3)":
        "drop must be names, compiled regular expressions or functions,",
    "ms.filter_parameters({'a': 1}, '(')": "no parameter matches '('",
    "ms.load_checkpoint_async('nowhere.ckpt').result()": "No such file or directory",
    "ms.resume('here/a.ckpt', S)": "here/a.ckpt is a file: name the folder of the run",
    "ms.resume(None, S)": "a path must be a path, not NoneType",
    "ms.resume('here', {'x': W}, prefix='net')":
        "here/net-1_2.ckpt: `like` has 1 parameter that the file lacks:",
    "ms.resume('here', {'w': W.T}, prefix='net')":
        "here/net-1_2.ckpt, parameter 'w': the shape differs (expected",
    "ms.resume('here', {'w': W}, prefix=3)": "prefix must be a str, not int",
    "ms.resume('here', {'w': W}, local=3)": "local must be a path, not int",
    "ms.latest_checkpoint(3)": "a path must be a path, not int",
    "ms.ModelCheckpoint(3)": "prefix must be a str without '/', not 3",
    "ms.ModelCheckpoint('a', 'here/a.ckpt')": "File exists",
    "ms.ModelCheckpoint('a', 3)": "directory must be a path, not int",
    "ms.ModelCheckpoint('a', 'out', {'a': 1})": "config must be a CheckpointConfig, not dict",
    "ms.ModelCheckpoint('a', 'out', batches_per_epoch=0)":
        "batches_per_epoch must be 1 or more, not 0",
    "ms.ModelCheckpoint('a', 'out', resumed=3)": "resumed must be a result of resume(), not int",
    "ms.ModelCheckpoint('a', 'out', clock=3)": "clock must be a function, not int",
    "ms.ModelCheckpoint('a', 'out', local=3)": "local= and local_steps= belong together: give both",
    "ms.ModelCheckpoint('a', 'out', preemption_grace_seconds=-1)":
        "preemption_grace_seconds must be above 0 and finite, not -1",
    "ms.ModelCheckpoint('net', 'out', None).step(None)":
        "there is nothing to save: no leaf in the tree, or none chosen",
    "ms.ModelCheckpoint('net', 'out', None).step({'a': Thing()})":
        "'a' is a Thing: a CheckPoint holds arrays, numbers, strings and",
    "ms.ModelCheckpoint('net', 'out', None).step(S, '1')": "epoch must be an int, not '1'",
    "ms.ModelCheckpoint('net', 'out', None).step(S, -1)":
        "epoch and step must not be negative, but are -1 and 1",
    "ms.ModelCheckpoint('net', 'out', None).step(S, 1, 'a')": "step must be an int, not 'a'",
    "ms.ModelCheckpoint('net', 'out', ms.CheckpointConfig(keep_best=('loss', 'min', 1))).step(S, metric={'acc': 1})":
        "keep_best needs 'loss', but step() was given ['acc']",
    "ms.ModelCheckpoint('net', 'out', ms.CheckpointConfig(keep_best=('loss', 'min', 1))).step(S, metric={'loss': 'x'})":
        "metric must be a number, or a dict of numbers, not 'x'",
    "ms.CheckpointConfig(append_info=['nothing'])":
        "append_info may name epoch_num and step_num, not 'nothing'",
    "ms.CheckpointConfig(save_checkpoint_steps=-1)":
        "save_checkpoint_steps must be 0 or more, not -1",
    "ms.CheckpointConfig(keep_checkpoint_max=-1)": "keep_checkpoint_max must be 0 or more, not -1",
    "ms.CheckpointConfig(format='pt')": "format must be one of ckpt, safetensors, not 'pt'",
    "ms.CheckpointConfig(enc_key=b'x')":
        "enc_key for AES-GCM must have 16 or 24 or 32 bytes, not 1",
    "ms.CheckpointConfig(keep_best=('loss', 'lowest', 1))":
        'keep_best must be like ("loss", "min", 3): the mode must be',
    "ms.CheckpointConfig(keep_every='x')":
        "keep_every must be a number of steps, a datetime.timedelta, or",
    "ms.CheckpointConfig(append_info=3)": "append_info must be a list, not int",
    "ms.CheckpointConfig(async_save='x')": "async_save must be 'thread' or 'process', not 'x'",
    "ms.CheckpointConfig(keep_max=3)": "CheckpointConfig has no argument 'keep_max'; it has",
    "ms.CheckpointConfig(enc_key=KEY, enc_mode='X')":
        "enc_mode must be one of AES-GCM, AES-CBC, SM4-CBC, not 'X'",
    "ms.CheckpointConfig(save_checkpoint_seconds=1.5)":
        "save_checkpoint_seconds must be an int or None, not float",
    "ms.CheckpointConfig(saved_network=3)":
        "saved_network must be the path of a sub-tree, a function of the",
    "ms.convert_checkpoint('nowhere.ckpt', 'out.safetensors')": "No such file or directory",
    "ms.convert_checkpoint('here/a.ckpt', 'here/a.ckpt')":
        "here/a.ckpt is the source itself; convert to another name",
    "ms.convert_checkpoint('here/a.ckpt', 'out.pt')":
        "out.pt: no such file is written; name one that ends with .ckpt",
    "ms.convert_checkpoint('here/a.ckpt', 'nowhere/a.ckpt')":
        "the folder nowhere does not exist; create it first",
    "ms.convert_checkpoint('here/a.ckpt', 'out.mindir')":
        "out.mindir: no such file is written; name one that ends with",
    "ms.convert_checkpoint('here/key.ckpt', 'out.safetensors')":
        "the file is encrypted with AES-GCM: pass dec_key",
    "ms.convert_checkpoint('here/text.txt', 'out.safetensors')":
        "this is a text: name the file that holds the weights",
    "ms.convert_checkpoint(None, 'out.safetensors')": "a path must be a path, not NoneType",
    "ms.convert_checkpoint('here/a.ckpt', 'out.safetensors', dtype='int8')":
        "--dtype (dtype=) must be one of float16, float32, float64,",
    "ms.convert_checkpoint('here/a.ckpt', 'out.safetensors', choice_func=lambda n: False)":
        "nothing is left to convert",
    "ms.convert_checkpoint('here/a.ckpt', 'out.safetensors', choice_func=3)":
        "choice_func must be callable",
    "ms.convert_checkpoint('here/a.ckpt', 'out.safetensors', name_map={'w': 'b'})":
        "two entries of save_obj, append_dict or PRNG keys have this",
    "ms.convert_checkpoint('here/a.ckpt', 'out.safetensors', name_map=['w'])":
        "name_map must be a dict of names to names",
    "ms.convert_checkpoint('here/a.ckpt', 'out.safetensors', as_stack='torch')":
        "--as (as_stack=) must be one of maxtext, tunix, levanter,",
    "ms.convert_checkpoint('here/a.ckpt', 'out.safetensors', as_stack='maxtext')":
        "these are no names of llama that its table knows, with this",
    "ms.convert_checkpoint('here/a.ckpt', 'out', as_stack='maxtext', config='here/bad.json')":
        "no JSON: Expecting property name enclosed in double quotes:",
    "ms.convert_checkpoint('here/a.ckpt', 'out', as_stack='maxtext', config=3)":
        "config must be a path or a dict, not int",
    "ms.convert_checkpoint('here/a.ckpt', 'out.safetensors', scanned='x')":
        "out.safetensors: say whose names and layouts it gets, --as",
    "ms.convert_checkpoint('here/a.ckpt', 'out.safetensors', strategy='here/strategy.ckpt')":
        "--strategy (strategy=) is for rank files, and here/a.ckpt has",
    "ms.convert_checkpoint('here/a.ckpt', 'out', to='nowhere.ckpt')":
        "there is no such strategy file (a save that is killed may leave",
    "ms.convert_checkpoint('here/a.ckpt', 'out', to='x=;')": "--to: 'x=' must be AXIS=SIZE",
    "ms.convert_checkpoint('here/a.ckpt', 'out', to='x=2; w=y')":
        "--to: 'y' is no axis of the mesh {'x': 2}",
    "ms.convert_checkpoint('here/a.ckpt', 'out', to='x=2; w=x')":
        "a dimension of size 3 cannot be split into 2 equal parts",
    "ms.convert_checkpoint('here/a.ckpt', 'out', to='x=2; (=x')":
        "--to: '(': missing ), unterminated subpattern at position 0",
    "ms.convert_checkpoint('here/a.ckpt', 'out', max_shard_size='x')":
        "--max-shard-size must be like '5GB', '500MB' or '3GiB', not 'x'",
    "ms.convert_checkpoint('here/a.ckpt', 'out.safetensors', enc_key=b'x')":
        "enc_key for AES-GCM must have 16 or 24 or 32 bytes, not 1",
    "ms.convert_checkpoint('here/a.ckpt', 'out.safetensors', threads=0)":
        "threads must be a positive number, not 0",
    "ms.convert_checkpoint('here/a.ckpt', 'out.safetensors', progress=3)":
        "progress must be True or a function of a number of bytes, not",
    "ms.convert_checkpoint('here', 'out.safetensors')":
        "here holds rank files: give their --strategy (strategy=)",
    "ms.convert_checkpoint('here/empty', 'out.safetensors')":
        "this is a folder, not a CheckPoint file; it is no folder of the",
    "ms.convert_checkpoint('here/cut_a.ckpt', 'out.safetensors')":
        "the record says 68 bytes but 23 are left: truncated or damaged",
    "ms.convert_checkpoint('here/a.ckpt', 'here')": "Orbax writes to new directories only",
    "ms.convert_checkpoint('here/net.onnx', 'out.safetensors')":
        "the weights of an ONNX file are in what it was exported from",
    "ms.plan_conversion('nowhere', 'x.ckpt')": "No such file or directory",
    "ms.ckpt_to_safetensors('nowhere')": "nowhere is no .ckpt file and holds none in rank* folders",
    "ms.ckpt_to_safetensors('here/a.safetensors', 'out')":
        "here/a.safetensors is no .ckpt file and holds none in rank*",
    "ms.ckpt_to_safetensors('here/a.ckpt', 3)": "a path must be a path, not int",
    "ms.ckpt_to_safetensors('here', 'out', file_name_regex='(')":
        "file_name_regex: '(' is no regular expression: missing ),",
    "ms.ckpt_to_safetensors('here', 'out', file_name_regex='zzz')":
        "here is no .ckpt file and holds none in rank* folders",
    "ms.ckpt_to_safetensors('here/a.ckpt', 'out', name_map=3)":
        "name_map must be a dict of names to names",
    "ms.ckpt_to_safetensors('here/a.ckpt', 'out', processes_num=0)":
        "processes_num must be a positive number, not 0",
    "ms.safetensors_to_ckpt('here/a.ckpt', 'out')":
        "here/a.ckpt is no .safetensors file and holds none in rank*",
    "ms.Family(None, jax='maxtext')": "config must be a path or a dict, not NoneType",
    "ms.Family('nowhere', jax='maxtext')": "No such file or directory",
    "ms.Family('here/bad.json', jax='maxtext')":
        "no JSON: Expecting property name enclosed in double quotes:",
    "ms.Family({}, jax='maxtext')": "the config names no model_type",
    "ms.Family({'model_type': 'bloom'}, jax='maxtext')":
        "no table knows this model_type; write one, and pass it as",
    "ms.Family({**CONFIG, 'hidden_size': 'big'}, jax='maxtext')":
        "the config's hidden_size is not possible (expected a whole",
    "ms.Family({**CONFIG, 'num_attention_heads': 0}, jax='maxtext')":
        "the config's num_attention_heads is not possible (expected a",
    "ms.Family({**CONFIG, 'num_hidden_layers': -1}, jax='maxtext')":
        "the config's num_hidden_layers is not possible (expected a",
    "ms.Family({**CONFIG, 'num_key_value_heads': 4}, jax='maxtext')":
        "the query heads are no multiple of the key heads (found 6 and 4)",
    "ms.Family(CONFIG, jax='torch')":
        "jax must be one of maxtext, tunix, levanter, huggingface, not",
    "ms.Family(CONFIG, jax='maxtext', files='gguf')":
        "files must be one of huggingface, mindformers,",
    "ms.Family(CONFIG, jax='maxtext', table='here/bad.json')":
        "no table of a family: TOMLDecodeError('Invalid statement (at",
    "ms.Family(CONFIG, jax='maxtext', scan_axis='x')":
        "scan_axis must be an axis, 0 or more, not 'x'",
    "ms.Family(CONFIG, jax='maxtext', optimizer='adamx')":
        "'adamx' is no optimizer that goes on with a state of optax;",
    "ms.Family(CONFIG, jax='maxtext', lora_alpha='x')": "lora_alpha must be a number, not str",
    "ms.Family(CONFIG, jax='maxtext', maxtext_model=3)": "maxtext_model must be a str, not int",
    "ms.Family(CONFIG, jax='maxtext', hyperparameters={'x': 1})":
        "hyperparameters may be b1 and b2, not x",
    "ms.save_checkpoint(S, 'out.ckpt', convention=ms.Family(CONFIG, jax='maxtext'))":
        "the tree is not that of llama with this config; not in its",
    "ms.Family('here/a.ckpt', jax='maxtext')":
        "no JSON: 'utf-8' codec can't decode byte 0x80 in position 26:",
    "ms.Family({**CONFIG, 'tie_word_embeddings': 'x'}, jax='maxtext')":
        "the config's tie_word_embeddings is not possible (expected true",
    "ms.load_adapter('nowhere', S, ms.Family(CONFIG, jax='tunix'))": "No such file or directory",
    "ms.save_adapter(S, 'out', ms.Family(CONFIG, jax='tunix'))":
        "an adapter needs Family(..., jax='tunix', lora_alpha=...), the",
    "ms.save_adapter(S, 'out', 'x')": "the convention of an adapter is a Family, not str",
    "ms.Convention(base='torch')": "base must be one of mindspore, mint, or a network:",
    "ms.Convention(rename=3)": "rename must be a dict of regular expressions and templates or",
    "ms.Convention(rename={'(': 'a'})": "'(' is no regular expression: missing ), unterminated",
    "ms.save_checkpoint(lin(), 'out.ckpt', convention=ms.Convention(rename={'kernel': '\\\\1'}))":
        "'\\\\1' is no template for 'kernel': invalid group reference 1 at",
    "ms.Convention(rename={'a': None})": "rename['a'] must be a str or a function, not NoneType",
    "ms.Convention(network='alexnet')": "network must be one of bonsai.resnet, bonsai.vit,",
    "ms.Convention(layers={'a': 'dense9'})":
        "'dense9' is no kind of layer; known: Dense, DenseGeneral, Conv,",
    "ms.Convention(layers=['a'])": "layers must be a dict, not list",
    "ms.Convention(layers={'(': 'dense'})":
        "'dense' is no kind of layer; known: Dense, DenseGeneral, Conv,",
    "ms.Convention(stacked={'a': 'x'})": "stacked={'a': 'x'} must be an axis, 0 or more",
    "ms.save_checkpoint({'layers': {'kernel': np.ones((2, 3, 4), np.float32)}}, 'out.ckpt', convention=ms.Convention(stacked={'layers': 7}))":
        "a leaf of a stack has no such layer axis; narrow the expression",
    "ms.Convention(optimizer='adamx')":
        "'adamx' is no optimizer that goes on with a state of optax;",
    "ms.Convention(hyperparameters={'x': 1})": "hyperparameters may be b1 and b2, not x",
    "ms.Convention(inputs=3)": "inputs must be a tuple, not int",
    "ms.explain('x')": "parameter '': rename= leaves nothing of the name (expected a",
    "ms.explain(lin(), 'torch')": "base must be one of mindspore, mint, or a network:",
    "ms.save_checkpoint(lin(), 'out.ckpt', convention=ms.Convention(rename=lambda n: 3))":
        "the function rename= does not give a text (expected a str,",
    "ms.save_checkpoint(lin(), 'out.ckpt', convention=ms.Convention(rename=lambda n: 'a'))":
        "bias and kernel get the same name in MindSpore; rename= must",
    "ms.transform_checkpoints('nowhere', 'out', 'a', 'here/strategy.ckpt')":
        "nowhere is not a folder of rank_N folders",
    "ms.transform_checkpoints('here', 'here', 'a', 'here/strategy.ckpt')":
        "here is the source itself; write to another folder",
    "ms.transform_checkpoints('here', 'out', 'a', 'nowhere')":
        "there is no such strategy file (a save that is killed may leave",
    "ms.transform_checkpoints('here', 'out', 'a', 'here/text.txt')":
        "this is no strategy file: a CheckPoint has no fields of wire",
    "ms.transform_checkpoints('here', 'out', 'a', 'here/strategy.ckpt', output_format='x')":
        "output_format must be one of ckpt, safetensors, not 'x'",
    "ms.transform_checkpoints('here', 'out', 3, 'here/strategy.ckpt')":
        "ckpt_prefix must be a name without '/', not 3",
    "ms.transform_checkpoints('here', 'out', 'a', 'here/strategy.ckpt', process_num=0)":
        "process_num must be a positive number, not 0",
    "ms.transform_checkpoints('here/empty', 'out', 'a', 'here/strategy.ckpt')":
        "no rank_N folder with a CheckPoint in it (convert takes other",
    "ms.transform_checkpoints(3, 'out', 'a', 'here/strategy.ckpt')":
        "a path must be a path, not int",
    "ms.transform_checkpoint_by_rank(9, {0: 'here/rank_0/part.ckpt', 1: 'here/rank_1/part.ckpt'}, 'out.ckpt', 'here/strategy.ckpt')":
        "rank_id must be below the 1 ranks of the strategy, not 9",
    "ms.transform_checkpoint_by_rank(0, ['x'], 'out.ckpt', 'here/strategy.ckpt')":
        "checkpoint_files_map must be a dict of rank to file",
    "ms.transform_checkpoint_by_rank(0, {0: 'here/rank_0/part.ckpt'}, 'out.ckpt', 'here/strategy.ckpt')":
        "here/rank_0/part.ckpt, parameter 'w': the files of ranks [1]",
    "ms.transform_checkpoint_by_rank('0', {0: 'here/rank_0/part.ckpt'}, 'out.ckpt', 'here/strategy.ckpt')":
        "rank_id must be int, not str",
    "ms.transform_checkpoint_by_rank(0, {'0': 'here/rank_0/part.ckpt'}, 'out.ckpt', 'here/strategy.ckpt')":
        "the ranks of files must be ints, not '0'",
    "ms.rank_list_for_transform(99, 'here/strategy.ckpt')":
        "rank_id must be below the 1 ranks of the strategy, not 99",
    "ms.rank_list_for_transform('0', 'here/strategy.ckpt')": "rank_id must be int, not str",
    "ms.build_searched_strategy('nowhere')":
        "there is no such strategy file (a save that is killed may leave",
    "ms.build_searched_strategy(None)": "strategy_filename must be a path, not NoneType",
    "ms.merge_pipeline_strategys('nowhere', 'out.ckpt')":
        "nowhere is not a folder of strategy files",
    "ms.merge_pipeline_strategys('here/empty', 'out.ckpt')":
        "the strategy files must all be .ckpt or all .json",
    "ms.merge_pipeline_strategys(None, 'out.ckpt')": "a path must be a path, not NoneType",
    "ms.merge_sliced_parameter([])": "sliced_parameters is empty",
    "ms.merge_sliced_parameter('x')": "sliced_parameters must be a list, not str",
    "ms.merge_sliced_parameter([W, W[0]])":
        "the slices differ in name, in dtype, or in shape beyond axis 0",
    "ms.merge_sliced_parameter([W, W], 3)":
        "with a strategy the slices must be dicts of name and data",
    "ms.unified_safetensors('nowhere', 'here/strategy.ckpt', 'out')":
        "nowhere is not a folder of rank_N folders",
    "ms.unified_safetensors('here', 'here/strategy.ckpt', 'out', split_dst_file=3)":
        "split_dst_file must be (i, n), not 3",
    "ms.load_segmented_checkpoints('nowhere')": "nowhere is not a folder",
    "ms.load_segmented_checkpoints('here/empty')": "no .ckpt file is in the folder",
    "ms.load_segmented_checkpoints(None)": "a path must be a path, not NoneType",
    "ms.restore_group_info_list('nowhere')": "No such file or directory",
    "ms.restore_group_info_list('here/a.ckpt')": "the file has no group info with a list of ranks",
    "ms.restore_group_info_list(None)": "a path must be a path, not NoneType",
    "ms.load_distributed_checkpoint(lin())": "format='ckpt' needs checkpoint_filenames and",
    "ms.plan_transform('nowhere', 'here/strategy.ckpt')":
        "nowhere is not a folder of rank_N folders",
    "ms.plan_transform('here', 'here/strategy.ckpt', 'here/a.ckpt')":
        "by its field 1 it is a CheckPoint",
    "ms.MergedCheckpoint({}, None)": "files must be a dict of a file for each rank, not {}",
    "ms.MergedCheckpoint({0: 'nowhere'}, 'here/strategy.ckpt')": "No such file or directory",
    "ms.load_checkpoint('here/empty.ckpt')": "the file is empty",
    "ms.load_checkpoint('here/text.txt')": "this is a text: name the file that holds the weights",
    "ms.load_checkpoint('here/a.ckpt.gz')": "this is a gzip file: unpack it first",
    "ms.load_checkpoint('here/cut_a.ckpt')":
        "the record says 68 bytes but 23 are left: truncated or damaged",
    "ms.load_checkpoint('here/cut_a.safetensors')":
        "the safetensors header is longer than the file: truncated, or",
    "ms.load_checkpoint('here/cut_net.mindir')":
        "this is a MindIR model: msckpt_jax.load reads it, and msckpt",
    "ms.load_checkpoint('here/cut_a.npz')":
        "this is a zip archive, but no .npz and no PyTorch file, or one",
    "ms.load_checkpoint('here/net.mindir')":
        "this is a MindIR model: msckpt_jax.load reads it, and msckpt",
    "ms.load_checkpoint('here/net.onnx')":
        "this is an ONNX model: msckpt inspect shows it; the weights lie",
    "ms.load_checkpoint('here/a.npz')":
        "this is a npz file: msckpt convert here/a.npz model.ckpt makes",
    "ms.load_checkpoint('here/one.npy')":
        "this is one array of NumPy (.npy): save_checkpoint({NAME:",
    "ms.load_checkpoint('here/key.ckpt')": "the file is encrypted with AES-GCM: pass dec_key",
    "ms.load_checkpoint('here/config.json')":
        "the file is no index of safetensors files (expected an object",
    "ms.load_checkpoint('here/bad.json')":
        "the file is no index of safetensors files (expected an object",
    "ms.load_checkpoint('here/user.py')": "this is a text: name the file that holds the weights",
    "ms.load_checkpoint('here/strategy.ckpt')":
        "this is a strategy file: pass it as strategy=, and the folder",
    "ms.load_checkpoint('here/rank_0')":
        "this is a folder, not a CheckPoint file; name one of the files",
    "ms.export(lambda x: x @ jnp.ones((7, 7)), X, file_name='out', file_format='AIR')":
        "TypeError: dot_general requires contracting dimensions to have",
    "ms.export(lambda x: x @ jnp.ones((7, 7)), X, file_name='out', file_format='AIR', verify=True)":
        "TypeError: dot_general requires contracting dimensions to have",
    "ms.export(lambda x: x if x.sum() > 0 else -x, X, file_name='out', file_format='AIR')":
        "values are not known while a network is exported: in place of",
    "ms.export(lambda x: x if x.sum() > 0 else -x, X, file_name='out', file_format='AIR', verify=True)":
        "values are not known while a network is exported: in place of",
    "ms.export(conv, jnp.ones((2, 3, 8, 9)), file_name='out', file_format='AIR')":
        "the network has its channels last, and inputs has them on axis",
    "ms.export(conv, jnp.ones((2, 3, 8, 9)), file_name='out', file_format='AIR', verify=True)":
        "the network has its channels last, and inputs has them on axis",
    "ms.export(user_rec, X, file_name='out', file_format='AIR')":
        "a function calls itself without end, or is nested deeper than",
    "ms.export(user_rec, X, file_name='out', file_format='AIR', verify=True)":
        "a function calls itself without end, or is nested deeper than",
    "ms.export(user_idx, X, file_name='out', file_format='AIR')":
        "IndexError: list index out of range",
    "ms.export(user_idx, X, file_name='out', file_format='AIR', verify=True)":
        "IndexError: list index out of range",
    "ms.export(user_key, X, file_name='out', file_format='AIR')": "KeyError: 'b'",
    "ms.export(user_key, X, file_name='out', file_format='AIR', verify=True)": "KeyError: 'b'",
    "ms.export(lambda x: jax.pure_callback(np.sin, x, x), X, file_name='out', file_format='AIR')":
        "pure_callback: Python code computes its results, which a file",
    "ms.export(lambda x: jax.pure_callback(np.sin, x, x), X, file_name='out', file_format='AIR', verify=True)":
        "pure_callback: Python code computes its results, which a file",
    "ms.export(lambda x: 'yes', X, file_name='out', file_format='AIR')":
        "the network's result is a str: results are arrays",
    "ms.export(lambda x: 'yes', X, file_name='out', file_format='AIR', verify=True)":
        "the network's result is a str: results are arrays",
    "ms.export(lambda x: x, np.array(['a']), file_name='out', file_format='AIR')":
        "the input x is no array of numbers, but of <U1",
    "ms.export(lambda x: x, np.array(['a']), file_name='out', file_format='AIR', verify=True)":
        "the input x is no array of numbers, but of <U1",
    "ms.export(lin(), (2, 3), file_name='out', file_format='AIR')":
        "inputs is a tuple of numbers: if it is the shape of an input,",
    "ms.export(lin(), (2, 3), file_name='out', file_format='AIR', verify=True)":
        "inputs is a tuple of numbers: if it is the shape of an input,",
    "ms.export(lambda x: x @ jnp.ones((7, 7)), X, file_name='out', file_format='ONNX')":
        "TypeError: dot_general requires contracting dimensions to have",
    "ms.export(lambda x: x @ jnp.ones((7, 7)), X, file_name='out', file_format='ONNX', verify=True)":
        "TypeError: dot_general requires contracting dimensions to have",
    "ms.export(lambda x: x if x.sum() > 0 else -x, X, file_name='out', file_format='ONNX')":
        "values are not known while a network is exported: in place of",
    "ms.export(lambda x: x if x.sum() > 0 else -x, X, file_name='out', file_format='ONNX', verify=True)":
        "values are not known while a network is exported: in place of",
    "ms.export(conv, jnp.ones((2, 3, 8, 9)), file_name='out', file_format='ONNX')":
        "the network has its channels last, and inputs has them on axis",
    "ms.export(conv, jnp.ones((2, 3, 8, 9)), file_name='out', file_format='ONNX', verify=True)":
        "the network has its channels last, and inputs has them on axis",
    "ms.export(user_rec, X, file_name='out', file_format='ONNX')":
        "a function calls itself without end, or is nested deeper than",
    "ms.export(user_rec, X, file_name='out', file_format='ONNX', verify=True)":
        "a function calls itself without end, or is nested deeper than",
    "ms.export(user_idx, X, file_name='out', file_format='ONNX')":
        "IndexError: list index out of range",
    "ms.export(user_idx, X, file_name='out', file_format='ONNX', verify=True)":
        "IndexError: list index out of range",
    "ms.export(user_key, X, file_name='out', file_format='ONNX')": "KeyError: 'b'",
    "ms.export(user_key, X, file_name='out', file_format='ONNX', verify=True)": "KeyError: 'b'",
    "ms.export(lambda x: jax.pure_callback(np.sin, x, x), X, file_name='out', file_format='ONNX')":
        "2 problems, nothing was written:",
    "ms.export(lambda x: jax.pure_callback(np.sin, x, x), X, file_name='out', file_format='ONNX', verify=True)":
        "2 problems, nothing was written:",
    "ms.export(lambda x: 'yes', X, file_name='out', file_format='ONNX')":
        "the network's result is a str: results are arrays",
    "ms.export(lambda x: 'yes', X, file_name='out', file_format='ONNX', verify=True)":
        "the network's result is a str: results are arrays",
    "ms.export(lambda x: x, np.array(['a']), file_name='out', file_format='ONNX')":
        "the input x is no array of numbers, but of <U1",
    "ms.export(lambda x: x, np.array(['a']), file_name='out', file_format='ONNX', verify=True)":
        "the input x is no array of numbers, but of <U1",
    "ms.export(lin(), (2, 3), file_name='out', file_format='ONNX')":
        "inputs is a tuple of numbers: if it is the shape of an input,",
    "ms.export(lin(), (2, 3), file_name='out', file_format='ONNX', verify=True)":
        "inputs is a tuple of numbers: if it is the shape of an input,",
    "ms.save_checkpoint(S, io.StringIO())": "is open for text",
    "(f := io.BytesIO(), f.close(), ms.save_checkpoint(S, f))": "not open for writing",
    "ms.Convention(module=3)": "module must be a module of flax.nnx or flax.linen, not int",
    "ms.Convention(module=nnx.Linear)": "not the class Linear",
    "ms.Convention(base=W)": "base must be one of mindspore, mint, or a network:",
    "ms.Convention(network=['x'])": "network must be one of",
    "ms.Convention(optimizer=['Adam'])": "is no optimizer that goes on with a state of optax",
    "ms.Convention(hyperparameters=3)": "hyperparameters must be a dict of numbers, not int",
    "ms.Convention(hyperparameters={'b1': 'x'})":
        "hyperparameters: b1 must be a number from 0 to 1, not 'x'",
    "ms.Family(CONFIG, jax=W)": "jax must be one of",
    "ms.Layout(3, 4)": "dev_matrix must be a tuple of positive numbers",
    "ms.Layout((2,), 4)": "tensor_map must be a tuple with a tuple of mesh axes for each",
    "ms.TensorSpec({'a': 3}, 'float32')": "shape must be a tuple of sizes, not {'a': 3}",
    "ms.TensorSpec(b'ab', 'float32')": "shape must be a tuple of sizes, not b'ab'",
    "ms.TensorSpec((3,), None)": "dtype must be one of NumPy or ml_dtypes, not None",
    "ms.TensorSpec((3,), [])": "dtype must be one of NumPy or ml_dtypes, not []",
    "ms.build_searched_strategy('here/a.ckpt')":
        "this is no strategy file: by its field 1 it is a CheckPoint",
    "ms.build_searched_strategy('here/config.json')":
        "it has no parallel_layout_item and no parallel_strategy_item",
    "ms.open_checkpoint('here/a.ckpt', crc_check='no')": "crc_check must be bool, not str",
    "ms.open_checkpoint('here/a.ckpt', mmap='no')": "mmap must be bool, not str",
    "ms.load('here/net.mindir', mmap=0)": "mmap must be bool, not int",
    "ms.load_checkpoint('here/a.ckpt', remove_redundancy='no')":
        "remove_redundancy must be bool, not str",
    "ms.load_param_into_tree(S, S, strict_load='no')": "strict_load must be bool, not str",
    "ms.save_checkpoint(S, 'out.ckpt', durable='no')": "durable must be bool, not str",
    "ms.save_checkpoint(S, 'out.ckpt', timeout=float('nan'))":
        "threads and timeout must be positive, not 2 and nan",
    "ms.save_checkpoint(S, 'out.ckpt', remove_redundancy='no')":
        "remove_redundancy must be bool, not str",
    "ms.save_checkpoint(S, 'out.ckpt', strategy_file=3)": "strategy_file must be a path, not int",
    "ms.convert_checkpoint('here/a.ckpt', 'out.ckpt', verify='no')": "verify must be bool, not str",
    "ms.convert_checkpoint('here/a.ckpt', 'out.ckpt', enc_mode='ROT13')":
        "enc_mode must be one of AES-GCM, AES-CBC, SM4-CBC, not 'ROT13'",
    "ms.convert_checkpoint('here/a.ckpt', 'out.ckpt', dtype=['float16'])":
        "--dtype (dtype=) must be one of",
    "ms.convert_checkpoint('here/a.ckpt', 'out', config=CONFIG, as_stack='maxtext', leave_out='w')":
        "leave_out must be callable, not str",
    "ms.plan_conversion('here/a.ckpt', 3)": "a path must be a path, not int",
    "ms.ckpt_to_safetensors('here/a.ckpt', 'out', name_map={'w': 3})":
        "name_map must be a dict of names to names",
    "ms.filter_parameters({3: 4}, 'w')": "parameter_dict must have texts as names, not 3",
    "ms.merge_sliced_parameter([1, 2])":
        "sliced_parameters must be arrays with axes, which are joined",
    "ms.merge_sliced_parameter([{'w': W}], {'w': 3})": "must have the keys name and data",
    "ms.merge_sliced_parameter([{'name': 'w', 'data': W}], 3)":
        "strategy must be a dict of layouts, not int",
    "ms.unified_safetensors('here', 'here/strategy.ckpt', 'out', 'no')":
        "merge_with_redundancy must be bool, not str",
    "ms.unified_safetensors('here', 'here/strategy.ckpt', 'out', file_suffix=3)":
        "file_suffix must be a str, not int",
    "ms.resume('here', {'w': W}, 'net', strategy=3)": "strategy must be a path, not int",
    "ms.ModelCheckpoint('net', 'out').step(S, metric='x')":
        "metric must be a number, or a dict of numbers, not 'x'",
    "ms.export(lambda x: x, X, file_name='out', verify='no')": "verify must be bool, not str",
    "ms.export(lambda x: x, X, file_name='out', exact='no')": "exact must be bool, not str",
    "ms.export(lambda x: x, X, file_name='out', training=None)":
        "training must be bool, not NoneType",
    "ms.export(lambda x: x, X, file_name='out', progress=3)":
        "progress must be True or a function of a number of bytes, not int",
    "ms.export(lambda x: x, X, file_name='out', enc_mode='ROT13')":
        "enc_mode must be one of AES-GCM, AES-CBC, SM4-CBC, not 'ROT13'",
    "ms.export(lambda x: x, X, file_name='out', constraints=3)":
        "constraints must be a list of texts, not 3",
    "ms.transforms.Pipeline(3)": "operations must be a transform or a list of them, not int",
    "ms.transforms.Pipeline(ms.transforms.Decode(), 3)":
        "input_columns is 3: each transform takes one column",
    "ms.transforms.TypeCast({'(': 'x'})": "expected one of",
}
