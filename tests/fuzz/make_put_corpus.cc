// Writes the seeds of put_fuzz into a folder:
//
//   bazel run //tests/fuzz:make_put_corpus -- $PWD/tests/fuzz/corpus/put_fuzz
#include <cstdio>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "codec/base/byte_io.h"
#include "server/store/namespace.h"
#include "tests/server/service/service_samples.h"

namespace kvcompd::server {
namespace {

using Messages = std::vector<v1::PutRequest>;

PutSpec Small(bool encoded) {
  PutSpec spec;
  spec.ns = Namespace::MakeId("fuzz", ServiceModel().Fingerprint());
  spec.blocks = {1, 2};
  spec.shard = {0, 0, 2, 0, 1};
  spec.tokens = 3;
  spec.encoded = encoded;
  spec.profile = kKvcomp;
  spec.piece_bytes = 100;
  return spec;
}

Messages Whole(const PutSpec& spec) {
  Messages out = {HeaderOf(spec)};
  for (uint32_t block = 0; block < spec.blocks.size(); ++block) {
    for (v1::PutRequest& piece : PiecesOf(spec, block)) out.push_back(std::move(piece));
    out.push_back(CommitOf({block}));
  }
  return out;
}

bool Write(const std::string& folder, const char* name, const Messages& messages, bool gone = false) {
  std::string bytes;
  ByteWriter w(&bytes);
  for (const auto& message : messages) {
    const std::string body = message.SerializeAsString();
    w.U32(static_cast<uint32_t>(body.size()));
    w.Bytes(body);
  }
  if (gone) {
    w.U32(0xffffffff);
    w.U8(0);
  }
  std::ofstream file(folder + "/" + name, std::ios::binary);
  file << bytes;
  return file.good();
}

}  // namespace
}  // namespace kvcompd::server

int main(int argc, char** argv) {
  using namespace kvcompd::server;
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 1;
  }
  const std::string folder = argv[1];
  const Messages decoded = Whole(Small(false));
  const Messages encoded = Whole(Small(true));
  bool ok = Write(folder, "decoded.bin", decoded) && Write(folder, "encoded.bin", encoded);
  ok &= Write(folder, "gone.bin", {decoded.begin(), decoded.begin() + 3}, /*gone=*/true);
  ok &= Write(folder, "no_commit.bin", {decoded.begin(), decoded.begin() + 4});
  ok &= Write(folder, "no_header.bin", {decoded.begin() + 1, decoded.end()});
  Messages broken = decoded;
  std::swap(broken[1], broken[2]);
  broken.push_back(CommitOf({0, 1, 0}));
  ok &= Write(folder, "reordered.bin", broken);
  broken = encoded;
  broken[3].mutable_data()->back() ^= 1;
  ok &= Write(folder, "corrupt.bin", broken);
  broken = encoded;
  broken[1].mutable_chunks(0)->set_total_bytes(UINT64_MAX);
  ok &= Write(folder, "oversize.bin", broken);
  return ok ? 0 : 1;
}
