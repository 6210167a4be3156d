// Calls of @grpc/grpc-js, a client of gRPC that shares no code with gRPC's C core.
//
//   node client.js ADDRESS PROTOS CASE     prints what came of the case, as one line of JSON
"use strict";

const path = require("node:path");
const { createRequire } = require("node:module");

const [address, protos, name] = process.argv.slice(2);
const installed = createRequire(path.join(process.env.NODE_PATH, "x.js"));
const grpc = installed("@grpc/grpc-js");
const loader = installed("@grpc/proto-loader");

const definition = loader.loadSync("grpc_service.proto", {
  includeDirs: [protos],
  keepCase: true,
  longs: Number,
  enums: String,
  oneofs: true,
  defaults: true,
});
const { GRPCInferenceService } = grpc.loadPackageDefinition(definition).inference;
const MIB = 1 << 20;
const connect = (options = {}) =>
  new GRPCInferenceService(address, grpc.credentials.createInsecure(), {
    "grpc.max_receive_message_length": -1,
    "grpc.max_send_message_length": -1,
    ...options,
  });

const vector = (values, id = "") => ({
  model_name: "identity_flat",
  id,
  inputs: [{ name: "in_fp32", datatype: "FP32", shape: [values.length] }],
  raw_input_contents: [Buffer.from(Float32Array.from(values).buffer)],
});
const slow = (seconds) => ({
  model_name: "slow",
  inputs: [{ name: "seconds", datatype: "FP32", shape: [1, 1] }],
  raw_input_contents: [Buffer.from(Float32Array.of(seconds).buffer)],
});
const numbers = (reply) => {
  const bytes = Buffer.from(reply.raw_output_contents[0]);
  return Array.from(new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4));
};
const failure = (error) => ({ code: grpc.status[error.code], details: error.details });

function unary(client, method, request, options = {}, metadata = new grpc.Metadata()) {
  return new Promise((resolve, reject) => {
    client[method](request, metadata, options, (error, reply) =>
      error ? reject(error) : resolve(reply),
    );
  });
}

const soon = (ms) => ({ deadline: Date.now() + ms });

const cases = {
  async infer(client) {
    const reply = await unary(client, "ModelInfer", vector([1, 2, 3], "seven"));
    return { id: reply.id, shape: reply.outputs[0].shape, numbers: numbers(reply) };
  },

  async metadata(client) {
    const reply = await unary(client, "ModelMetadata", { name: "identity_flat" });
    return { name: reply.name, inputs: reply.inputs.map((one) => one.datatype) };
  },

  async unknown(client) {
    return unary(client, "ModelMetadata", { name: "nobody" }).catch(failure);
  },

  async refused(client) {
    const request = vector([1]);
    request.inputs[0].shape = [-2];
    return unary(client, "ModelInfer", request).catch(failure);
  },

  async unimplemented(client) {
    return new Promise((resolve) => {
      client.makeUnaryRequest(
        "/inference.GRPCInferenceService/Nothing",
        (bytes) => bytes,
        (bytes) => bytes,
        Buffer.alloc(0),
        (error) => resolve({ code: grpc.status[error.code] }),
      );
    });
  },

  async large(client) {
    const values = new Array(2 * MIB).fill(0).map((_, at) => at % 1000);
    const came = numbers(await unary(client, "ModelInfer", vector(values)));
    return { length: came.length, same: came.every((value, at) => value === values[at]) };
  },

  async compressed() {
    const gzip = { "grpc.default_compression_algorithm": 2 };
    const came = numbers(await unary(connect(gzip), "ModelInfer", vector(new Array(1000).fill(5))));
    return { length: came.length, last: came.at(-1) };
  },

  async deadline(client) {
    return unary(client, "ModelInfer", slow(5), soon(150)).catch(failure);
  },

  async cancelled(client) {
    return new Promise((resolve) => {
      const call = client.ModelInfer(slow(5), (error) => resolve(failure(error)));
      setTimeout(() => call.cancel(), 100);
    });
  },

  async together(client) {
    const asked = Array.from({ length: 200 }, (_, at) =>
      unary(client, "ModelInfer", vector([at, 2 * at]), soon(60_000)).then(numbers),
    );
    const came = await Promise.all(asked);
    return { right: came.filter(([one, two], at) => one === at && two === 2 * at).length };
  },

  async stream(client) {
    return new Promise((resolve, reject) => {
      const call = client.ModelStreamInfer(new grpc.Metadata(), soon(60_000));
      const ids = [];
      call.on("data", (reply) => ids.push(reply.infer_response.id));
      call.on("error", reject);
      call.on("end", () => resolve({ ids }));
      for (let at = 0; at < 20; at += 1) call.write(vector([at], `${at}`));
      call.end();
    });
  },

  async streamed_error(client) {
    return new Promise((resolve, reject) => {
      const call = client.ModelStreamInfer(new grpc.Metadata(), soon(60_000));
      const came = [];
      call.on("data", (reply) => came.push(reply.error_message === ""));
      call.on("error", reject);
      call.on("end", () => resolve({ good: came }));
      call.write({ ...vector([1]), model_name: "nobody" });
      call.write(vector([1]));
      call.end();
    });
  },

  async stream_given_up(client) {
    const call = client.ModelStreamInfer(new grpc.Metadata(), soon(60_000));
    const ended = new Promise((resolve) => call.on("error", (error) => resolve(failure(error))));
    call.on("data", () => call.cancel());
    call.write(vector([1]));
    const how = await ended;
    const after = await unary(client, "ModelInfer", vector([4]), soon(60_000));
    return { code: how.code, after: numbers(after) };
  },

  async keepalive() {
    const client = connect({
      "grpc.keepalive_time_ms": 200,
      "grpc.keepalive_timeout_ms": 20_000,
      "grpc.keepalive_permit_without_calls": 1,
    });
    await unary(client, "ServerLive", {});
    await new Promise((resolve) => setTimeout(resolve, 1500));
    return unary(client, "ServerLive", {}, soon(20_000));
  },
};

cases[name](connect())
  .then((came) => {
    console.log(JSON.stringify(came));
    process.exit(0);
  })
  .catch((error) => {
    console.error(error);
    process.exit(1);
  });
