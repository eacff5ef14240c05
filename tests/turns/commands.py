"""Wrong turns on the command line, each with its exit status and words of what it prints.

The words are on stdout for status 1 (the answer is no), on stderr for status 2.
"""

from __future__ import annotations

import shlex

split = shlex.split

# fmt: off
TURNS: dict[str, tuple[int, str]] = {
    "inspect nowhere": (2, "nowhere: No such file or directory"),
    "verify nowhere": (2, "nowhere: No such file or directory"),
    "diff nowhere here/a.ckpt": (2, "nowhere: No such file or directory"),
    "convert nowhere out.safetensors": (2, "nowhere: No such file or directory"),
    "convert here/a.ckpt out --to nowhere":
        (2, "nowhere: there is no such strategy file (a save that is killed"),
    "merge nowhere --strategy here/strategy.ckpt -o out.ckpt":
        (2, "nowhere is not a folder of rank_N folders"),
    "merge here --strategy nowhere -o out.ckpt":
        (2, "nowhere: there is no such strategy file (a save that is killed"),
    "reshard nowhere --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "nowhere is not a folder of rank_N folders"),
    "reshard here --from nowhere --to 'x=4; w=x' -o out":
        (2, "nowhere: there is no such strategy file (a save that is killed"),
    "recover nowhere": (2, "there is no such folder"),
    "inspect nowhere.ckpt": (2, "nowhere.ckpt: No such file or directory"),
    "verify nowhere.ckpt": (2, "nowhere.ckpt: No such file or directory"),
    "diff nowhere.ckpt here/a.ckpt": (2, "nowhere.ckpt: No such file or directory"),
    "convert nowhere.ckpt out.safetensors": (2, "nowhere.ckpt: No such file or directory"),
    "merge nowhere.ckpt --strategy here/strategy.ckpt -o out.ckpt":
        (2, "nowhere.ckpt is not a folder of rank_N folders"),
    "reshard nowhere.ckpt --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "nowhere.ckpt is not a folder of rank_N folders"),
    "inspect nowhere.mindir": (2, "nowhere.mindir: No such file or directory"),
    "verify nowhere.mindir": (2, "nowhere.mindir: No such file or directory"),
    "diff nowhere.mindir here/a.ckpt": (2, "nowhere.mindir: No such file or directory"),
    "convert nowhere.mindir out.safetensors": (2, "nowhere.mindir: No such file or directory"),
    "merge nowhere.mindir --strategy here/strategy.ckpt -o out.ckpt":
        (2, "nowhere.mindir is not a folder of rank_N folders"),
    "reshard nowhere.mindir --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "nowhere.mindir is not a folder of rank_N folders"),
    "inspect nowhere.air": (2, "nowhere.air: No such file or directory"),
    "verify nowhere.air": (2, "nowhere.air: No such file or directory"),
    "diff nowhere.air here/a.ckpt": (2, "nowhere.air: No such file or directory"),
    "convert nowhere.air out.safetensors": (2, "nowhere.air: No such file or directory"),
    "merge nowhere.air --strategy here/strategy.ckpt -o out.ckpt":
        (2, "nowhere.air is not a folder of rank_N folders"),
    "reshard nowhere.air --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "nowhere.air is not a folder of rank_N folders"),
    "inspect nowhere.onnx": (2, "nowhere.onnx: No such file or directory"),
    "verify nowhere.onnx": (2, "nowhere.onnx: No such file or directory"),
    "diff nowhere.onnx here/a.ckpt": (2, "nowhere.onnx: No such file or directory"),
    "convert nowhere.onnx out.safetensors":
        (2, "nowhere.onnx: the weights of an ONNX file are in what it was"),
    "convert nowhere.onnx out.onnx": (2, "out.onnx must end with .mindir or .air"),
    "merge nowhere.onnx --strategy here/strategy.ckpt -o out.ckpt":
        (2, "nowhere.onnx is not a folder of rank_N folders"),
    "reshard nowhere.onnx --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "nowhere.onnx is not a folder of rank_N folders"),
    "inspect here": (2, "the safetensors header is longer than the file: truncated, or"),
    "verify here": (1, "the safetensors header is longer than the file: truncated, or"),
    "diff here here/a.ckpt": (2, "the safetensors header is longer than the file: truncated, or"),
    "convert here out.safetensors": (2, "here holds rank files: give their --strategy (strategy=)"),
    "convert here/a.ckpt out --to here": (2, "here: Is a directory"),
    "merge here --strategy here -o out.ckpt": (2, "here: Is a directory"),
    "reshard here --from here --to 'x=4; w=x' -o out": (2, "here: Is a directory"),
    "convert here/hub out --config here --as maxtext":
        (2, "these are no names of llama that its table knows, with this"),
    "inspect here/empty": (2, "this is a folder, not a CheckPoint file; it is no folder of the"),
    "verify here/empty": (2, "this is a folder, not a CheckPoint file; it is no folder of the"),
    "diff here/empty here/a.ckpt":
        (2, "this is a folder, not a CheckPoint file; it is no folder of the"),
    "convert here/empty out.safetensors":
        (2, "this is a folder, not a CheckPoint file; it is no folder of the"),
    "convert here/a.ckpt out --to here/empty": (2, "Is a directory"),
    "merge here/empty --strategy here/strategy.ckpt -o out.ckpt":
        (2, "no rank_N folder with a CheckPoint in it (convert takes other"),
    "merge here --strategy here/empty -o out.ckpt": (2, "Is a directory"),
    "reshard here/empty --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "no rank_N folder with a CheckPoint in it (convert takes other"),
    "reshard here --from here/empty --to 'x=4; w=x' -o out": (2, "Is a directory"),
    "convert here/hub out --config here/empty --as maxtext": (2, "No such file or directory"),
    "inspect here/empty.ckpt": (2, "the file is empty"),
    "verify here/empty.ckpt": (2, "the file is empty"),
    "diff here/empty.ckpt here/a.ckpt": (2, "the file is empty"),
    "convert here/empty.ckpt out.safetensors": (2, "the file is empty"),
    "convert here/a.ckpt out --to here/empty.ckpt": (2, "the strategy file is empty"),
    "merge here/empty.ckpt --strategy here/strategy.ckpt -o out.ckpt":
        (2, "here/empty.ckpt is not a folder of rank_N folders"),
    "merge here --strategy here/empty.ckpt -o out.ckpt": (2, "the strategy file is empty"),
    "reshard here/empty.ckpt --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "here/empty.ckpt is not a folder of rank_N folders"),
    "reshard here --from here/empty.ckpt --to 'x=4; w=x' -o out": (2, "the strategy file is empty"),
    "convert here/hub out --config here/empty.ckpt --as maxtext":
        (2, "no JSON: Expecting value: line 1 column 1 (char 0)"),
    "inspect here/text.txt": (2, "no CheckPoint record begins here"),
    "verify here/text.txt": (1, "no CheckPoint record begins here"),
    "diff here/text.txt here/a.ckpt": (2, "no CheckPoint record begins here"),
    "convert here/text.txt out.safetensors": (2, "no CheckPoint record begins here"),
    "convert here/a.ckpt out --to here/text.txt":
        (2, "this is no strategy file: a CheckPoint has no fields of wire"),
    "merge here/text.txt --strategy here/strategy.ckpt -o out.ckpt":
        (2, "here/text.txt is not a folder of rank_N folders"),
    "merge here --strategy here/text.txt -o out.ckpt":
        (2, "this is no strategy file: a CheckPoint has no fields of wire"),
    "reshard here/text.txt --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "here/text.txt is not a folder of rank_N folders"),
    "reshard here --from here/text.txt --to 'x=4; w=x' -o out":
        (2, "this is no strategy file: a CheckPoint has no fields of wire"),
    "inspect here/a.ckpt.gz": (2, "this is a gzip file: unpack it first"),
    "verify here/a.ckpt.gz": (2, "this is a gzip file: unpack it first"),
    "diff here/a.ckpt.gz here/a.ckpt": (2, "this is a gzip file: unpack it first"),
    "convert here/a.ckpt.gz out.safetensors": (2, "this is a gzip file: unpack it first"),
    "merge here/a.ckpt.gz --strategy here/strategy.ckpt -o out.ckpt":
        (2, "here/a.ckpt.gz is not a folder of rank_N folders"),
    "reshard here/a.ckpt.gz --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "here/a.ckpt.gz is not a folder of rank_N folders"),
    "convert here/hub out --config here/a.ckpt.gz --as maxtext":
        (2, "no JSON: 'utf-8' codec can't decode byte 0x8b in position 1:"),
    "inspect here/cut_a.ckpt":
        (2, "the record says 68 bytes but 23 are left: truncated or damaged"),
    "verify here/cut_a.ckpt": (1, "the record says 68 bytes but 23 are left: truncated or damaged"),
    "diff here/cut_a.ckpt here/a.ckpt":
        (2, "the record says 68 bytes but 23 are left: truncated or damaged"),
    "convert here/cut_a.ckpt out.safetensors":
        (2, "the record says 68 bytes but 23 are left: truncated or damaged"),
    "merge here/cut_a.ckpt --strategy here/strategy.ckpt -o out.ckpt":
        (2, "here/cut_a.ckpt is not a folder of rank_N folders"),
    "reshard here/cut_a.ckpt --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "here/cut_a.ckpt is not a folder of rank_N folders"),
    "convert here/cut_a.safetensors out.safetensors":
        (2, "the safetensors header is longer than the file: truncated, or"),
    "diff here/cut_net.mindir here/a.ckpt":
        (2, "this is a MindIR model: msckpt_jax.load reads it, and msckpt"),
    "merge here/cut_net.mindir --strategy here/strategy.ckpt -o out.ckpt":
        (2, "here/cut_net.mindir is not a folder of rank_N folders"),
    "reshard here/cut_net.mindir --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "here/cut_net.mindir is not a folder of rank_N folders"),
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
    "inspect here/cut_a.npz": (2, "this is a zip archive, but no .npz and no PyTorch file, or one"),
    "verify here/cut_a.npz": (2, "this is a zip archive, but no .npz and no PyTorch file, or one"),
    "diff here/cut_a.npz here/a.ckpt":
        (2, "this is a zip archive, but no .npz and no PyTorch file, or one"),
    "convert here/cut_a.npz out.safetensors":
        (2, "this is a zip archive, but no .npz and no PyTorch file, or one"),
    "inspect here/one.npy": (2, "this is one array of NumPy (.npy): save_checkpoint({NAME:"),
    "verify here/one.npy": (2, "this is one array of NumPy (.npy): save_checkpoint({NAME:"),
    "diff here/one.npy here/a.ckpt":
        (2, "this is one array of NumPy (.npy): save_checkpoint({NAME:"),
    "convert here/one.npy out.safetensors":
        (2, "this is one array of NumPy (.npy): save_checkpoint({NAME:"),
    "merge here/one.npy --strategy here/strategy.ckpt -o out.ckpt":
        (2, "here/one.npy is not a folder of rank_N folders"),
    "reshard here/one.npy --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "here/one.npy is not a folder of rank_N folders"),
    "verify here/key.ckpt": (2, "encrypted with AES-GCM: give --dec-key-file, or the variable"),
    "diff here/key.ckpt here/a.ckpt":
        (2, "encrypted with AES-GCM: give --dec-key-file, or the variable"),
    "convert here/key.ckpt out.safetensors":
        (2, "encrypted with AES-GCM: give --dec-key-file, or the variable"),
    "merge here/key.ckpt --strategy here/strategy.ckpt -o out.ckpt":
        (2, "here/key.ckpt is not a folder of rank_N folders"),
    "reshard here/key.ckpt --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "here/key.ckpt is not a folder of rank_N folders"),
    "merge here/key.mindir --strategy here/strategy.ckpt -o out.ckpt":
        (2, "here/key.mindir is not a folder of rank_N folders"),
    "reshard here/key.mindir --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "here/key.mindir is not a folder of rank_N folders"),
    "inspect here/strategy.ckpt":
        (2, "this is a strategy file: pass it as strategy=, and the folder"),
    "verify here/strategy.ckpt":
        (2, "this is a strategy file: pass it as strategy=, and the folder"),
    "diff here/strategy.ckpt here/a.ckpt":
        (2, "this is a strategy file: pass it as strategy=, and the folder"),
    "convert here/strategy.ckpt out.safetensors":
        (2, "this is a strategy file: pass it as strategy=, and the folder"),
    "convert here/a.ckpt out --to here/strategy.ckpt":
        (2, "parameter 'w': a dimension of size 3 cannot be split into 2"),
    "merge here/strategy.ckpt --strategy here/strategy.ckpt -o out.ckpt":
        (2, "here/strategy.ckpt is not a folder of rank_N folders"),
    "reshard here/strategy.ckpt --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "here/strategy.ckpt is not a folder of rank_N folders"),
    "merge here/bad.json --strategy here/strategy.ckpt -o out.ckpt":
        (2, "here/bad.json is not a folder of rank_N folders"),
    "reshard here/bad.json --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "here/bad.json is not a folder of rank_N folders"),
    "merge here/user.py --strategy here/strategy.ckpt -o out.ckpt":
        (2, "here/user.py is not a folder of rank_N folders"),
    "reshard here/user.py --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "here/user.py is not a folder of rank_N folders"),
    "inspect /dev/null": (2, "/dev/null: the file is empty"),
    "verify /dev/null": (2, "/dev/null: the file is empty"),
    "diff /dev/null here/a.ckpt": (2, "/dev/null: the file is empty"),
    "convert /dev/null out.safetensors": (2, "/dev/null: the file is empty"),
    "merge /dev/null --strategy here/strategy.ckpt -o out.ckpt":
        (2, "/dev/null is not a folder of rank_N folders"),
    "merge here --strategy /dev/null -o out.ckpt": (2, "/dev/null: the strategy file is empty"),
    "reshard /dev/null --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "/dev/null is not a folder of rank_N folders"),
    "reshard here --from /dev/null --to 'x=4; w=x' -o out":
        (2, "/dev/null: the strategy file is empty"),
    "recover /dev/null": (2, "/dev/null: there is no such folder"),
    "inspect here/a.ckpt/x": (2, "Not a directory"),
    "verify here/a.ckpt/x": (2, "Not a directory"),
    "diff here/a.ckpt/x here/a.ckpt": (2, "Not a directory"),
    "convert here/a.ckpt/x out.safetensors": (2, "Not a directory"),
    "merge here --strategy here/a.ckpt/x -o out.ckpt": (2, "Not a directory"),
    "reshard here --from here/a.ckpt/x --to 'x=4; w=x' -o out": (2, "Not a directory"),
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
    "inspect foo://x/y": (2, "'foo://x/y': neither this package nor fsspec knows foo://; use"),
    "verify foo://x/y": (2, "'foo://x/y': neither this package nor fsspec knows foo://; use"),
    "diff foo://x/y here/a.ckpt":
        (2, "'foo://x/y': neither this package nor fsspec knows foo://; use"),
    "convert foo://x/y out.safetensors":
        (2, "'foo://x/y': neither this package nor fsspec knows foo://; use"),
    "merge foo://x/y --strategy here/strategy.ckpt -o out.ckpt":
        (2, "'foo://x/y': neither this package nor fsspec knows foo://; use"),
    "reshard foo://x/y --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "'foo://x/y': neither this package nor fsspec knows foo://; use"),
    "recover foo://x/y": (2, "'foo://x/y': neither this package nor fsspec knows foo://; use"),
    "merge here/net.onnx --strategy here/strategy.ckpt -o out.ckpt":
        (2, "here/net.onnx is not a folder of rank_N folders"),
    "reshard here/net.onnx --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "here/net.onnx is not a folder of rank_N folders"),
    "merge here/net.air --strategy here/strategy.ckpt -o out.ckpt":
        (2, "here/net.air is not a folder of rank_N folders"),
    "reshard here/net.air --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "here/net.air is not a folder of rank_N folders"),
    "merge here/net.mindir --strategy here/strategy.ckpt -o out.ckpt":
        (2, "here/net.mindir is not a folder of rank_N folders"),
    "reshard here/net.mindir --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "here/net.mindir is not a folder of rank_N folders"),
    "diff here/a.npz here/a.ckpt": (1, "name  difference  A  B           max |a - b|"),
    "convert here/a.npz out.onnx":
        (2, "out.onnx: no such file is written; name one that ends with"),
    "merge here/a.npz --strategy here/strategy.ckpt -o out.ckpt":
        (2, "here/a.npz is not a folder of rank_N folders"),
    "reshard here/a.npz --from here/strategy.ckpt --to 'x=4; w=x' -o out":
        (2, "here/a.npz is not a folder of rank_N folders"),
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
