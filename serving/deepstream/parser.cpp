// Outputs of a maskrt engine as the objects of DeepStream's Gst-nvinfer.
//
//   g++ -std=c++17 -O2 -shared -fPIC parser.cpp -o libmaskrt_parser.so
//       -I/opt/nvidia/deepstream/deepstream/sources/includes -I/usr/local/cuda/include
//
// The graph has chosen classes and suppressed doubles: objects go on as they are (cluster-mode=4).
// Boxes are in pixels of the canvas, which nvinfer scales to the frame. Slots past the last
// detection have score 0, so the output `counts` is not needed. Masks are probabilities in their
// box, (m, m), as nvinfer has them; it frees them with delete[].
//
// This file was compiled against the published interface and fed with a graph's outputs. It was
// never run inside DeepStream.

#include <algorithm>
#include <cstring>
#include <vector>

#include "canvas.h"  // VALID_HEIGHT, VALID_WIDTH: the part of the canvas that a frame takes
#include "nvdsinfer_custom_impl.h"

namespace {

using Layers = std::vector<NvDsInferLayerInfo>;

const NvDsInferLayerInfo* find(Layers const& layers, const char* name) {
  for (NvDsInferLayerInfo const& layer : layers) {
    if (layer.layerName != nullptr && std::strcmp(layer.layerName, name) == 0) return &layer;
  }
  return nullptr;
}

const float* floats(const NvDsInferLayerInfo* layer) {
  if (layer == nullptr || layer->dataType != FLOAT) return nullptr;
  return static_cast<const float*>(layer->buffer);
}

// What every task gives: where (D, 4) xyxy, how sure (D), and what (D), 0 of proposals.
struct Found {
  const float* boxes;
  const float* scores;
  const int* labels;
  unsigned int slots;

  explicit Found(Layers const& layers) {
    const NvDsInferLayerInfo* given = find(layers, "scores");
    const NvDsInferLayerInfo* classes = find(layers, "labels");
    scores = floats(given);
    boxes = floats(find(layers, "boxes"));
    if (boxes == nullptr) boxes = floats(find(layers, "windows"));
    const bool known = classes != nullptr && classes->dataType == INT32;
    labels = known ? static_cast<const int*>(classes->buffer) : nullptr;
    slots = given == nullptr ? 0 : given->inferDims.numElements;
  }

  bool complete() const { return boxes != nullptr && scores != nullptr; }

  unsigned int label(unsigned int slot) const {
    return labels == nullptr ? 0 : static_cast<unsigned int>(labels[slot]);
  }

  bool wanted(unsigned int slot, NvDsInferParseDetectionParams const& asked) const {
    const unsigned int of = label(slot);
    if (of >= asked.numClassesConfigured || of >= asked.perClassPreclusterThreshold.size()) {
      return false;
    }
    return scores[slot] > 0.f && scores[slot] >= asked.perClassPreclusterThreshold[of];
  }

  template <typename Object>
  void place(unsigned int slot, Object& object) const {
    const float* box = boxes + 4 * slot;
    object.classId = label(slot);
    object.left = box[0];
    object.top = box[1];
    object.width = box[2] - box[0];
    object.height = box[3] - box[1];
    object.detectionConfidence = scores[slot];
  }
};

}  // namespace

// The second input: which part of each canvas is a picture. Frames of one stream are of one size.
extern "C" bool NvDsInferInitializeInputLayers(Layers const& inputs, NvDsInferNetworkInfo const&,
                                               unsigned int batch) {
  const NvDsInferLayerInfo* sizes = find(inputs, "image_sizes");
  if (sizes == nullptr || sizes->dataType != INT32) return false;
  int* values = static_cast<int*>(sizes->buffer);
  for (unsigned int index = 0; index < batch; ++index) {
    values[2 * index] = VALID_HEIGHT;
    values[2 * index + 1] = VALID_WIDTH;
  }
  return true;
}

// Boxes with masks: Mask R-CNN's instances, FastMask's proposals in their windows.
extern "C" bool MaskrtParseInstances(Layers const& outputs, NvDsInferNetworkInfo const&,
                                     NvDsInferParseDetectionParams const& asked,
                                     std::vector<NvDsInferInstanceMaskInfo>& objects) {
  const Found found(outputs);
  const NvDsInferLayerInfo* layer = find(outputs, "masks");
  const float* masks = floats(layer);
  if (!found.complete() || masks == nullptr || layer->inferDims.numDims != 3) return false;
  const unsigned int height = layer->inferDims.d[1], width = layer->inferDims.d[2];
  const unsigned int cells = height * width;
  for (unsigned int slot = 0; slot < found.slots; ++slot) {
    if (!found.wanted(slot, asked)) continue;
    NvDsInferInstanceMaskInfo object{};
    found.place(slot, object);
    object.mask = new float[cells];
    std::copy_n(masks + slot * cells, cells, object.mask);
    object.mask_width = width;
    object.mask_height = height;
    object.mask_size = cells * sizeof(float);
    objects.push_back(object);
  }
  return true;
}

// Boxes alone: Faster R-CNN.
extern "C" bool MaskrtParseBoxes(Layers const& outputs, NvDsInferNetworkInfo const&,
                                 NvDsInferParseDetectionParams const& asked,
                                 std::vector<NvDsInferObjectDetectionInfo>& objects) {
  const Found found(outputs);
  if (!found.complete()) return false;
  for (unsigned int slot = 0; slot < found.slots; ++slot) {
    if (!found.wanted(slot, asked)) continue;
    NvDsInferObjectDetectionInfo object{};
    found.place(slot, object);
    objects.push_back(object);
  }
  return true;
}

CHECK_CUSTOM_INSTANCE_MASK_PARSE_FUNC_PROTOTYPE(MaskrtParseInstances)
CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE(MaskrtParseBoxes)
