"""Wrong turns on the command line, each with its exit status and words of what it prints.

The words are on stdout for status 1 (the answer is no), on stderr for status 2.
"""

from __future__ import annotations

import shlex

split = shlex.split


# fmt: off
#: Files, with the status of verify and the words of all commands that read a CheckPoint.
READ = {
    "nowhere": (2, "nowhere: No such file or directory"),
    "nowhere.ckpt": (2, "nowhere.ckpt: No such file or directory"),
    "nowhere.mindir": (2, "nowhere.mindir: No such file or directory"),
    "nowhere.air": (2, "nowhere.air: No such file or directory"),
    "here/empty": (2, "this is a folder, not a CheckPoint file; it is no folder of the"),
    "here/empty.ckpt": (2, "the file is empty"),
    "here/text.txt": (2, "this is a text: name the file that holds the weights"),
    "here/a.ckpt.gz": (2, "this is a gzip file: unpack it first"),
    "here/cut_a.ckpt": (1, "the record says 68 bytes but 23 are left: truncated or damaged"),
    "here/cut_a.npz": (2, "this is a zip archive, but no .npz and no PyTorch file, or one"),
    "here/one.npy": (2, "this is one array of NumPy (.npy): save_checkpoint({NAME:"),
    "here/strategy.ckpt": (2, "this is a strategy file: pass it as strategy=, and the folder"),
    "/dev/null": (2, "/dev/null: the file is empty"),
    "here/a.ckpt/x": (2, "Not a directory"),
    "foo://x/y": (2, "'foo://x/y': neither this package nor fsspec knows foo://; use"),
}
#: Places of no rank files.
NO_RANKS = (
    "nowhere", "nowhere.ckpt", "nowhere.mindir", "nowhere.air", "nowhere.onnx", "here/empty.ckpt",
    "here/text.txt", "here/a.ckpt.gz", "here/cut_a.ckpt", "here/cut_net.mindir", "here/one.npy",
    "here/key.ckpt", "here/key.mindir", "here/strategy.ckpt", "here/bad.json", "here/user.py",
    "/dev/null", "here/net.onnx", "here/net.air", "here/net.mindir", "here/a.npz",
)
#: Files that are no strategy, and the words for them.
NO_STRATEGIES = {
    "nowhere": "nowhere: there is no such strategy file (a save that is killed",
    "here": "here: Is a directory",
    "here/empty": "Is a directory",
    "here/empty.ckpt": "the strategy file is empty",
    "here/text.txt": "this is no strategy file: a CheckPoint has no fields of wire",
    "here/a.ckpt": "this is no strategy file: by its field 1 it is a CheckPoint",
    "here/config.json": "it has no parallel_layout_item and no parallel_strategy_item",
    "/dev/null": "/dev/null: the strategy file is empty",
    "here/a.ckpt/x": "Not a directory",
}
TURNS: dict[str, tuple[int, str]] = {
    **{f"{command} {file}{more}": (status if command == "verify" else 2, words)
       for file, (status, words) in READ.items()
       for command, more in {"inspect": "", "verify": "", "diff": " here/a.ckpt",
                             "convert": " out.safetensors"}.items()},
    **{f"{command} {file} {more}": (2, f"{file} is not a folder of rank_N folders")
       for file in NO_RANKS
       for command, more in {"merge": "--strategy here/strategy.ckpt -o out.ckpt",
                             "reshard": "--from here/strategy.ckpt --to 'x=4; w=x' -o out"}.items()},
    **{line.format(file): (2, words)
       for file, words in NO_STRATEGIES.items()
       for line in ("merge here --strategy {} -o out.ckpt",
                    "reshard here --from {} --to 'x=4; w=x' -o out",
                    "convert here/a.ckpt out --to {}")},
    "verify here/key.ckpt": (2, "encrypted with AES-GCM: give --dec-key-file, or the variable"),
    "diff here/key.ckpt here/a.ckpt":
        (2, "encrypted with AES-GCM: give --dec-key-file, or the variable"),
    "convert here/key.ckpt out.safetensors":
        (2, "encrypted with AES-GCM: give --dec-key-file, or the variable"),
    "recover nowhere": (2, "there is no such folder"),
    "inspect nowhere.onnx": (2, "nowhere.onnx: No such file or directory"),
    "verify nowhere.onnx": (2, "nowhere.onnx: No such file or directory"),
    "diff nowhere.onnx here/a.ckpt": (2, "nowhere.onnx: No such file or directory"),
    "convert nowhere.onnx out.safetensors":
        (2, "nowhere.onnx: the weights of an ONNX file are in what it was"),
    "convert nowhere.onnx out.onnx": (2, "out.onnx must end with .mindir or .air"),
    "inspect here": (2, "the safetensors header is longer than the file: truncated, or"),
    "verify here": (1, "the safetensors header is longer than the file: truncated, or"),
    "diff here here/a.ckpt": (2, "the safetensors header is longer than the file: truncated, or"),
    "convert here out.safetensors": (2, "here holds rank files: give their --strategy (strategy=)"),
    "convert here/hub out --config here --as maxtext":
        (2, "these are no names of llama that its table knows, with this"),
    "merge here/empty --strategy here/strategy.ckpt -o out.ckpt":
        (2, "no rank_N folder with a CheckPoint in it (convert takes other"),
    "reshard here/empty --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "no rank_N folder with a CheckPoint in it (convert takes other"),
    "convert here/hub out --config here/empty --as maxtext": (2, "No such file or directory"),
    "convert here/hub out --config here/empty.ckpt --as maxtext":
        (2, "no JSON: Expecting value: line 1 column 1 (char 0)"),
    "convert here/hub out --config here/a.ckpt.gz --as maxtext":
        (2, "no JSON: 'utf-8' codec can't decode byte 0x8b in position 1:"),
    "convert here/cut_a.safetensors out.safetensors":
        (2, "the safetensors header is longer than the file: truncated, or"),
    "diff here/cut_net.mindir here/a.ckpt":
        (2, "this is a MindIR model: msckpt_jax.load reads it, and msckpt"),
    "inspect here/cut_net.air": (2, "no AIR file, or one that is damaged or cut off"),
    "verify here/cut_net.air": (1, "no AIR file, or one that is damaged or cut off"),
    "diff here/cut_net.air here/a.ckpt":
        (2, "this is an AIR model by its name: msckpt_jax.load reads it, and"),
    "convert here/cut_net.air out.safetensors":
        (2, "no AIR file, or one that is damaged or cut off"),
    "inspect here/cut_net.onnx": (2, "no ONNX model, or a damaged one"),
    "verify here/cut_net.onnx": (1, "no ONNX model"),
    "convert here/cut_net.onnx out.safetensors":
        (2, "the weights of an ONNX file are in what it was exported from"),
    "convert here/a.ckpt out --to here/strategy.ckpt":
        (2, "parameter 'w': a dimension of size 3 cannot be split into 2"),
    "recover /dev/null": (2, "/dev/null: there is no such folder"),
    "inspect ''": (2, "a path must name a file or folder, not '': it is empty"),
    "verify ''": (2, "a path must name a file or folder, not '': it is empty"),
    "diff '' here/a.ckpt": (2, "ckpt_file_name must name a file or folder, not '': it is empty"),
    "convert '' out.safetensors": (2, "a path must name a file or folder, not '': it is empty"),
    "convert here/a.ckpt out --to x":
        (2, "x: there is no such strategy file (a save that is killed may"),
    "merge '' --strategy here/strategy.ckpt -o out.ckpt":
        (2, "a path must name a file or folder, not '': it is empty"),
    "reshard '' --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "a path must name a file or folder, not '': it is empty"),
    "recover ''": (2, "a path must name a file or folder, not '': it is empty"),
    "merge foo://x/y --strategy here/strategy.ckpt -o out.ckpt":
        (2, "'foo://x/y': neither this package nor fsspec knows foo://; use"),
    "reshard foo://x/y --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "'foo://x/y': neither this package nor fsspec knows foo://; use"),
    "recover foo://x/y": (2, "'foo://x/y': neither this package nor fsspec knows foo://; use"),
    "diff here/a.npz here/a.ckpt": (1, "name  difference  A  B           max |a - b|"),
    "convert here/a.npz out.onnx":
        (2, "out.onnx: no such file is written; name one that ends with"),
    "convert here/orbax out --as maxtext":
        (2, "there is no config.json beside the source: pass --config"),
    "inspect": (2, "the following arguments are required: FILE"),
    "inspect a b c d": (2, "unrecognized arguments: b c d"),
    "verify": (2, "the following arguments are required: FILE"),
    "verify a b c d": (2, "unrecognized arguments: b c d"),
    "diff": (2, "the following arguments are required: A, B"),
    "diff a b c d": (2, "unrecognized arguments: c d"),
    "convert": (2, "the following arguments are required: SRC, DST"),
    "convert a b c d": (2, "unrecognized arguments: c d"),
    "export": (2, "the following arguments are required: MODULE:NAME, -o/--output"),
    "ops --nothing": (2, "unrecognized arguments: --nothing"),
    "recover": (2, "the following arguments are required: FOLDER"),
    "recover a b c d": (2, "unrecognized arguments: b c d"),
    "merge": (2, "the following arguments are required: DIR, --strategy,"),
    "reshard": (2, "the following arguments are required: DIR, --to, -o/--output"),
    "completion": (2, "the following arguments are required: SHELL"),
    "completion a b c d": (2, "argument SHELL: invalid choice: 'a' (choose from 'bash', 'zsh',"),
    "nothing": (2, "argument COMMAND: invalid choice: 'nothing' (choose from"),
    "": (2, "the following arguments are required: COMMAND"),
    "--nothing": (2, "the following arguments are required: COMMAND"),
    "inspect here/a.ckpt --filter '('":
        (2, "--filter: missing ), unterminated subpattern at position 0"),
    "inspect here/a.ckpt --limit 0": (2, "argument --limit: must be a positive number, not '0'"),
    "inspect here/key.ckpt --dec-key-file here/wrong.key":
        (2, "wrong key, or the block is damaged"),
    "inspect here/key.ckpt --dec-key-file here/short.key":
        (2, "dec_key for AES-GCM must have 16 or 24 or 32 bytes, not 5"),
    "verify here/key.ckpt --dec-key-file here/wrong.key": (2, "wrong key, or the block is damaged"),
    "verify here/key.mindir --dec-key-file here/empty": (2, "Is a directory"),
    "verify here/net.onnx --runtime x": (2, "argument --runtime: invalid choice: 'x' (choose from"),
    "verify here/net.onnx --runtime tract":
        (2, "runtime='tract' is asked for, and tract is not installed: pip"),
    "diff here/a.ckpt here/a.safetensors --rtol x":
        (2, "argument --rtol: invalid float value: 'x'"),
    "diff here/a.ckpt here/a.ckpt --filter '['":
        (2, "--filter: unterminated character set at position 0"),
    "convert here/a.ckpt here/a.ckpt":
        (2, "here/a.ckpt is the source itself; convert to another name"),
    "convert here/a.ckpt out.pt":
        (2, "out.pt: no such file is written; name one that ends with .ckpt"),
    "convert here/a.ckpt nowhere/a.ckpt": (2, "the folder nowhere does not exist; create it first"),
    "convert here/a.ckpt out.mindir":
        (2, "out.mindir: no such file is written; name one that ends with"),
    "convert here/a.ckpt out.ckpt --dtype int8":
        (2, "argument --dtype: invalid choice: 'int8' (choose from"),
    "convert here/a.ckpt out.ckpt --rename x": (2, "--rename 'x' must be REGEX=TEMPLATE"),
    "convert here/a.ckpt out.ckpt --rename '(=x'":
        (2, "--rename '(=x': missing ), unterminated subpattern at position 0"),
    "convert here/a.ckpt out.ckpt --rename 'w=\\9'":
        (2, "--rename 'w=\\\\9': invalid group reference 9 at position 1"),
    "convert here/a.ckpt out.ckpt --filter zzz": (2, "nothing is left to convert"),
    "convert here/a.ckpt out --max-shard-size x":
        (2, "--max-shard-size must be like '5GB', '500MB' or '3GiB', not 'x'"),
    "convert here/a.ckpt out.ckpt --max-shard-size 1GB":
        (2, "out.ckpt: with --max-shard-size name a folder, not a file"),
    "convert here/a.ckpt out.ckpt --strategy here/strategy.ckpt":
        (2, "--strategy (strategy=) is for rank files, and here/a.ckpt has"),
    "convert here/a.ckpt out.ckpt --json": (2, "--json and --all go with --plan"),
    "convert here/a.ckpt out.ckpt --weights int8":
        (2, "--weights: for models that are written, not for CheckPoints"),
    "convert here/net.mindir out.air --dtype float16":
        (2, "--dtype can be used for CheckPoints, not for the model"),
    "convert here/net.mindir out.onnx --opset 3": (2, "opset must be 18 to 26, not 3"),
    "convert here/net.onnx out.mindir": (2, "ONNX files are run by onnxruntime, not read by JAX"),
    "convert here/net.mindir out.mindir": (2, "out.mindir must end with .air or .onnx"),
    "convert here/a.ckpt out.ckpt --enc-key-file here/short.key":
        (2, "--enc-key-file for AES-GCM must have 16 or 24 or 32 bytes, not 5"),
    "convert here/a.ckpt out.safetensors --enc-key-file here/right.key":
        (2, "only .ckpt files can be encrypted, and without --crc"),
    "convert here/a.ckpt out.ckpt --table nowhere":
        (2, "out.ckpt: say whose names and layouts it gets, --as"),
    "convert here/a.ckpt out.ckpt --table here/text.txt --as maxtext --config here/config.json":
        (2, 'no table of a family: TOMLDecodeError("Expected \'=\' after a key'),
    "convert here/a.ckpt out --to saved":
        (2, "--to saved needs an Orbax checkpoint, which notes its"),
    "convert here/a.ckpt out --to 'x=0; w=x'": (2, "--to: 'x=0' must be AXIS=SIZE"),
    "convert here/a.ckpt out --to x=a": (2, "--to: 'x=a' must be AXIS=SIZE"),
    "convert here/a.ckpt out --to 'x=2; zzz=x'":
        (2, "--to: no parameter has a name in which 'zzz' is found"),
    "convert here/a.ckpt out.ckpt --verify-only": (2, "out.ckpt: No such file or directory"),
    "convert here/a.ckpt here/text.txt": (2, "Orbax writes to new directories only"),
    "merge here --strategy here/strategy.ckpt -o out.onnx":
        (2, "out.onnx must end with .ckpt or .safetensors"),
    "merge here --strategy here/strategy.ckpt -o out.ckpt --json": (2, "--json goes with --plan"),
    "merge here --strategy here/strategy.ckpt -o here":
        (2, "here must end with .ckpt or .safetensors"),
    "reshard here --to 'x=3; w=x' -o out":
        (2, "parameter 'w': a dimension of size 2 cannot be split into 3"),
    "reshard here --from here/strategy.ckpt --to 'x=4; w=x' -o here":
        (2, "here is the source itself; write to another folder"),
    "reshard here --from here/strategy.ckpt --to 'x=4; w=x' -o here/a.ckpt": (2, "File exists"),
    "reshard here --from here/strategy.ckpt --to 'x=4; w=x' -o out --prefix a/b":
        (2, "--prefix must be a name without '/', not 'a/b'"),
    "export user -o out": (2, "'user' is not MODULE:NAME"),
    "export user: -o out": (2, "'user:' is not MODULE:NAME"),
    "export :x -o out": (2, "':x' is not MODULE:NAME"),
    "export nomodule:x -o out": (2, "there is no module 'nomodule'"),
    "export user:nothing -o out": (2, "user has no nothing"),
    "export user:number -o out": (2, "net must be a function, an nnx.Module or a pair (function,"),
    "export 'user:number()' -o out":
        (2, "calling user:number() fails: TypeError: 'int' object is not"),
    "export user:double -o out": (2, "the network itself fails in JAX"),
    "export user:double --input f32 -o out":
        (2, "'f32' is not DTYPE[SHAPE] with one of the dtypes bool, i8, i16,"),
    "export user:double --input 'f33[2]' -o out":
        (2, "'f33[2]' is not DTYPE[SHAPE] with one of the dtypes bool, i8,"),
    "export user:double --input 'f32[a b]' -o out":
        (2, "the size 'a b' of the input x is no size: syntax error in"),
    "export user:double --input 'f32[-1]' -o out":
        (2, "the size '-1' of the input x is negative: dynamic is None"),
    "export user:double --input 'f32[2' -o out":
        (2, "'f32[2' is not DTYPE[SHAPE] with one of the dtypes bool, i8,"),
    "export faulty:f -o out": (2, "importing faulty fails: ZeroDivisionError: division by zero"),
    "export syntax:f -o out":
        (2, "importing syntax fails: SyntaxError: invalid syntax (syntax.py,"),
    "export user:double --input 'f32[2]' -o nowhere/out": (2, "nowhere: no such folder"),
    "export user:double --input 'f32[2]' -o out.pt":
        (2, "out.pt ends with .pt, but file_format is MINDIR"),
    "export user:double --input 'f32[2]' -o out -f X":
        (2, "argument -f/--format: invalid choice: 'X' (choose from"),
    "export user:double --input 'f32[s]' --constraint x -o out":
        (2, "constraints=['x']: Constraint parsing error: must contain one"),
    "export user:double --input 'f32[s]' --constraint 's >= 5' --constraint 's <= 2' -o out":
        (2, "no sizes keep constraints=['s >= 5', 's <= 2']: Unsatisfiable"),
    "export user:double --input 'f32[2]' --enc-key-file here/short.key -o out":
        (2, "enc_key for AES-GCM must have 16 or 24 or 32 bytes, not 5"),
    "export user:double --input 'f32[2]' --enc-key-file nowhere -o out":
        (2, "nowhere: No such file or directory"),
    "export user:double --input 'f32[2]' --input-names a,b -o out":
        (2, "input_names has 2 names, where the network has 1 input: x"),
    "export user:double --input 'f32[2]' -f ONNX --opset 3 -o out":
        (2, "opset must be 18 to 26, not 3"),
    "export user:double --input 'f32[2]' --soc x -o out": (2, "soc is for AIR, not for MINDIR"),
    "export user.py:double --input 'f32[2]' -o out":
        (2, "modules have names with dots, not paths: user:double"),
    "export ..x:c -o out": (2, "importing ..x fails: TypeError: the 'package' argument is"),
    "ops --limit -3": (2, "argument --limit: must be a positive number, not '-3'"),
    "demo --steps x": (2, "argument --steps: must be a positive number, not 'x'"),
}
