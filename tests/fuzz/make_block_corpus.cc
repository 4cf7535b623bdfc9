// Writes the seeds of container_fuzz and segment_fuzz:
//
//   bazel run //tests/fuzz:make_block_corpus -- "$PWD/tests/fuzz/corpus"
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/codec/block_samples.h"

namespace kvcompd::codec {
namespace {

struct Seed {
  std::string name;
  std::string bytes;
};

BlockSpec Spec(const char* profile, DType dtype, uint32_t heads, uint32_t tokens, uint32_t seed = 1) {
  BlockSpec spec;
  spec.profile = profile;
  spec.dtype = dtype;
  spec.heads = heads;
  spec.tokens = tokens;
  spec.head_dim_v = dtype == DType::kOpaque ? 0 : 8;
  spec.seed = seed;
  return spec;
}

std::vector<std::pair<const char*, BlockSpec>> Specs() {
  return {
      {"raw_bf16", Spec("raw", DType::kBf16, 1, 2)},
      {"raw_two_groups", Spec("raw", DType::kFp8E5m2, 2, 66)},
      {"raw_opaque", Spec("raw", DType::kOpaque, 1, 3)},
      {"kvcomp_bf16", Spec("kvcomp:rel_k=0.2", DType::kBf16, 2, 40)},
      {"kvcomp_constant_head", Spec("kvcomp:rel_k=0.2", DType::kBf16, 2, 16, 0)},
      {"kvcomp_channel", Spec("kvcomp:rel_k=0.5,k_unit=channel", DType::kFp16, 1, 64)},
      {"kvcomp_fp8", Spec("kvcomp:rel_k=0.5", DType::kFp8E4m3, 1, 65)},
      {"kvcomp_strict", Spec("kvcomp:rel_k=0.2,strict=1", DType::kFp16, 2, 40)},
  };
}

std::vector<Seed> Containers() {
  std::vector<Seed> seeds;
  for (const auto& [name, spec] : Specs()) seeds.push_back({name, MakeBlock(spec).container});
  const std::string& raw = seeds[0].bytes;
  std::string must_understand = raw, newer = raw;
  Poke<uint32_t>(&must_understand, 8, 1);
  ResealBlockHeader(&must_understand);
  Poke<uint8_t>(&newer, 5, 1);
  Poke<uint32_t>(&newer, 12, 1);
  ResealBlockHeader(&newer);
  seeds.push_back({"must_understand", must_understand});
  seeds.push_back({"newer_minor", newer});
  seeds.push_back({"longer_header_and_footer", WithAdditions(raw, 1, 64, 64)});
  seeds.push_back({"truncated", raw.substr(0, raw.size() / 2)});
  seeds.push_back({"empty", ""});
  return seeds;
}

std::vector<Seed> Segments() {
  std::vector<Seed> seeds;
  for (const auto& [name, spec] : Specs()) {
    const BlockSample block = MakeBlock(spec);
    seeds.push_back({std::string(name) + "_k", block.segments[0]});
    if (block.segments.size() > 1) seeds.push_back({std::string(name) + "_v", block.segments[1]});
  }
  std::string no_offset = seeds[0].bytes, huge = seeds[0].bytes;
  Poke<uint32_t>(&no_offset, 64, 0);
  ResealSegment(&no_offset);
  Poke<uint32_t>(&huge, 28, 0xffffffc0);
  ResealSegment(&huge);
  seeds.push_back({"offset_zero", no_offset});
  seeds.push_back({"size_huge", huge});
  seeds.push_back({"extension", WithExtension(seeds[0].bytes, 48, 1)});
  return seeds;
}

bool Write(const std::filesystem::path& folder, const std::vector<Seed>& seeds) {
  std::filesystem::create_directories(folder);
  for (const Seed& seed : seeds) {
    std::ofstream file(folder / (seed.name + ".bin"), std::ios::binary);
    file << seed.bytes;
    if (!file.flush()) return false;
  }
  return true;
}

}  // namespace
}  // namespace kvcompd::codec

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
    return 2;
  }
  const std::filesystem::path corpus(argv[1]);
  const bool ok = kvcompd::codec::Write(corpus / "container_fuzz", kvcompd::codec::Containers()) &&
                  kvcompd::codec::Write(corpus / "segment_fuzz", kvcompd::codec::Segments());
  return ok ? 0 : 1;
}
