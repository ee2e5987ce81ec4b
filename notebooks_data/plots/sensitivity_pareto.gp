# SPDX-License-Identifier: Apache-2.0
# KL against bytes on text and questions that chose nothing: recipes, mixes, formats.
#   gnuplot -e "out='F.svg'" notebooks_data/plots/sensitivity_pareto.gp
if (!exists("out")) out = 'sensitivity_pareto.svg'
if (!exists("table")) table = 'notebooks_data/results/sensitivity/held_out_points.csv'
set terminal svg size 900,560 font 'sans,14' background rgb 'white' noenhanced
set output out
set datafile separator ','
w(by) = strcol(1) eq by && strcol(3) eq 'weights' && strcol(9) eq 'all'
set title 'KL against the size of the text model, held-out data (miniature)'
set xlabel 'bytes, millions'
set ylabel 'KL to float32, nats a token'
set logscale y
set grid lc rgb '#dddddd'
set key top right
plot table using (w('model') ? $8 / 1e6 : NaN):12:13:14 with yerrorbars lc rgb '#888888' pt 6 \
     lw 1.4 title 'one format', \
     '' using (w('model') ? $8 / 1e6 : NaN):12:5 with labels offset char 0,0.9 font ',10' notitle, \
     '' using (w('mix') ? $8 / 1e6 : NaN):12:13:14 with yerrorbars lc rgb '#1b6ca8' pt 7 lw 1.4 \
     title "llama.cpp's mixes", \
     '' using (w('mix') ? $8 / 1e6 : NaN):12:5 with labels offset char 0,0.9 font ',10' notitle, \
     '' using (w('recipe') ? $8 / 1e6 : NaN):12:13:14 with yerrorbars lc rgb '#b02a37' pt 9 ps 1.3 \
     lw 1.8 title 'chosen by sensitivity'
