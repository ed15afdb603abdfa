module braid/drive

go 1.22
