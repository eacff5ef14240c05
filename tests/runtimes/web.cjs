// Run an ONNX file in onnxruntime-web: `node web.cjs MODEL FOLDER` reads inputs.json in the folder,
// and puts results.json beside it.
const fs = require("fs");
const ort = require("onnxruntime-web");

const ARRAYS = {
  float32: Float32Array, float64: Float64Array, float16: Uint16Array, bool: Uint8Array,
  int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array,
  int32: Int32Array, uint32: Uint32Array, int64: BigInt64Array, uint64: BigUint64Array,
};

async function main(model, folder) {
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(new Uint8Array(fs.readFileSync(model)));
  const given = JSON.parse(fs.readFileSync(`${folder}/inputs.json`));
  const feeds = {};
  session.inputNames.forEach((name, i) => {
    const { type, dims, data } = given[i];
    const bytes = Uint8Array.from(Buffer.from(data, "base64"));
    feeds[name] = new ort.Tensor(type, new ARRAYS[type](bytes.buffer), dims);
  });
  const results = await session.run(feeds);
  const told = session.outputNames.map((name) => {
    const { type, dims, data } = results[name];
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    return { type, dims, data: bytes.toString("base64") };
  });
  fs.writeFileSync(`${folder}/results.json`, JSON.stringify(told));
}

main(process.argv[2], process.argv[3]).catch((error) => {
  console.error(String(error.message || error));
  process.exit(1);
});
