"""Tasks on decoded pictures: detection, segmentation, facial landmarks.

A folder of tasks holds any of

    <name>/images, <name>/boxes, <name>/masks, <name>/classes-boxes.yaml, <name>/classes-masks.yaml
    <name>/images, <name>/landmarks.csv
    networks/yolox*.onnx, networks/nanodet*.onnx                   boxes
    networks/deeplab*.onnx, networks/selfie*.onnx                  masks; selfie: of people only
    networks/face_*.onnx, networks/landmarks_openseeface*.onnx     points on the face that was found

Every task runs for which pictures, ground truth and networks are present. The networks run in
onnxruntime on the CPU in one thread. None was trained or tuned on decoded pictures.
"""
