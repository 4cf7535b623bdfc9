// Small blocks with values from a fixed formula, encoded: for tests, golden files and fuzz corpora.
//
//   BlockSpec spec{.profile = "kvcomp", .heads = 2, .tokens = 65};
//   BlockSample block = MakeBlock(spec);      // .container, and the .values of each segment
//
// Pure functions. They end the process where encoding fails: the callers are tests and generators.
#ifndef KVCOMPD_TESTS_CODEC_BLOCK_SAMPLES_H_
#define KVCOMPD_TESTS_CODEC_BLOCK_SAMPLES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "codec/base/types.h"
#include "codec/container.h"

namespace kvcompd::codec {

struct BlockSpec {
  std::string profile = "raw";
  DType dtype = DType::kBf16;
  std::vector<uint32_t> layers = {3};
  uint32_t head_begin = 0;
  uint32_t heads = 1;
  uint32_t tokens = 2;
  uint32_t head_dim_k = 8;
  uint32_t head_dim_v = 8;
  uint32_t seed = 1;
};

struct BlockSample {
  BlockHeader header;
  std::vector<std::string> values;    // per segment, [heads, tokens, channels]
  std::vector<std::string> segments;  // encoded
  std::string container;
};

// Values that a lossy codec compresses: small numbers around a mean of their channel, all finite. The first
// head is constant where seed is 0. Opaque: bytes of all kinds.
std::string SampleValues(const SegmentShape& shape, uint32_t seed);

BlockHeader SampleHeader(const BlockSpec& spec);
std::string SampleSegment(const BlockHeader& header, uint32_t layer_index, Tensor tensor,
                          std::string_view values);
BlockSample MakeBlock(const BlockSpec& spec);

// Recomputes checksums of bytes that a test has changed on purpose, by FORMAT.md and not by the code under
// test.
void ResealBlockHeader(std::string* container);
void ResealSegment(std::string* segment);  // header and index
// All checksums of payloads and group headers that the index points to, as far as they lie in the segment,
// and then of the index. The decoded values' only of raw tiles.
void ResealTiles(const Fingerprint& fingerprint, const BlockKey& key, std::string* segment);
void ResealFooter(std::string* container);

// Writes a little-endian field.
template <typename T>
void Poke(std::string* bytes, size_t offset, T value) {
  std::memcpy(bytes->data() + offset, &value, sizeof value);
}
template <typename T>
T Peek(std::string_view bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

}  // namespace kvcompd::codec

#endif  // KVCOMPD_TESTS_CODEC_BLOCK_SAMPLES_H_
