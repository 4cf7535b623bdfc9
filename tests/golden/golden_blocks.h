// The golden blocks of the current format version: what tests/golden/*.hex held when they were written, and
// what the encoder must still write. A released file is never changed or removed; a new format version adds
// files. make_golden_blocks writes them, and the table of their sizes:
//
//   bazel run //tests/golden:make_golden_blocks -- "$PWD/tests/golden"
//
// A file: "# note", "status: NAME" (what reading it gives), "values: SHA-256 of all segments' decoded values"
// where the status is OK, "set: " and hex for the codebook set that the reader has, if any, then the
// container in hex.
#ifndef KVCOMPD_TESTS_GOLDEN_GOLDEN_BLOCKS_H_
#define KVCOMPD_TESTS_GOLDEN_GOLDEN_BLOCKS_H_

#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace kvcompd::codec {

struct GoldenBlock {
  std::string file;  // without directory
  std::string note;
  std::string container;
  std::set<std::string> covers;  // what CoverageOf must find
  std::string set;               // canonical bytes; empty: the reader has none
};

std::vector<GoldenBlock> CurrentGoldenBlocks();

// "unit mode" of each of the container's tiles, and "unit mode wide" where their zeros are: "token huffman".
std::set<std::string> CoverageOf(std::string_view container);

// Parses, verifies and decodes: SHA-256 of the values of all segments in order, in hex.
absl::StatusOr<std::string> DecodeGolden(std::string_view container, std::string_view set);

std::string GoldenText(const GoldenBlock& block);

// One line a block that reads: file, bytes of the values, of the container, and of payloads and group
// headers.
std::string GoldenSizes(const std::vector<GoldenBlock>& blocks);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_TESTS_GOLDEN_GOLDEN_BLOCKS_H_
