// Reads NumPy .npz archives: arrays by name, as np.savez writes them (a zip file without compression).
//
// Called by the loader of models. Pure function; safe from any thread.
//
//   auto arrays = ParseNpz(file_bytes);              // StatusOr<std::map<std::string, NpyArray>>
//   const NpyArray& embedding = arrays->at("emb");
#ifndef KVCOMPD_CLIENT_CTL_NPZ_H_
#define KVCOMPD_CLIENT_CTL_NPZ_H_

#include <cstddef>
#include <map>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "client/npy.h"

namespace kvcompd::client {

// Names without ".npy". Every CRC-32 is checked. INVALID_ARGUMENT: no such archive, or damaged.
// UNIMPLEMENTED: with compressed arrays (np.savez_compressed), or over 4 GiB.
absl::StatusOr<std::map<std::string, NpyArray>> ParseNpz(std::span<const std::byte> file);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_NPZ_H_
