"""What machines still see in a decoded picture: detection, segmentation, facial landmarks.

A folder of tasks holds any of

    <name>/images, <name>/boxes, <name>/masks, <name>/classes-boxes.yaml, <name>/classes-masks.yaml
    <name>/images, <name>/landmarks.csv
    networks/yolox*.onnx, networks/deeplab*.onnx, networks/face_*.onnx, networks/landmarks_*.onnx

and every task runs whose pictures, truth and networks are all there. The networks run in
onnxruntime on the CPU in one thread, unchanged: none is trained or tuned on decoded pictures.
"""
